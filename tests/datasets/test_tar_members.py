"""What lies where in a tar, and which tars are refused with what to write instead."""

import tarfile

import pytest

from slowfast.datasets.tar_members import Member, plain_name, read_members


@pytest.fixture
def tar(write_tar, tmp_path):
    return write_tar(tmp_path / "a.tar", {"x/1.mp4": b"a" * 700, "./x/2.mp4": b"bc"})


def test_members_lie_after_their_headers_in_blocks_of_512(tar):
    # Header 0..511, 700 bytes from 512 in two blocks, header 1536..2047, two bytes from 2048.
    found = list(read_members(tar))
    assert found == [
        Member(b"x/1.mp4", 512, 700, 1_700_000_000),
        Member(b"x/2.mp4", 2048, 2, 1_700_000_000),
    ]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_and_foreign_names_and_folders(write_tar, tmp_path, form):
    names = ["d" * 90 + "/" + "n" * 90 + ".mp4", "größe/跳舞.mp4", "empty.mp4"]
    path = write_tar(
        tmp_path / "a.tar", {name: name.encode()[: 5 * (name != "empty.mp4")] for name in names}, form
    )
    with tarfile.open(path, "a", format=form) as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    found = list(read_members(path))
    assert [member.name.decode() for member in found] == names
    data = path.read_bytes()
    for member in found:
        assert data[member.offset : member.offset + member.size] == member.name[: member.size]
    assert [member.size for member in found] == [5, 5, 0]


def test_a_name_is_the_same_with_and_without_dot_slash():
    assert plain_name("./a/b.mp4") == plain_name("a/b.mp4") == b"a/b.mp4"


@pytest.mark.parametrize("how", ["gz", "bz2", "xz"])
def test_a_compressed_tar_is_refused_whatever_its_name(tmp_path, how):
    with tarfile.open(tmp_path / "a.tar", f"w:{how}") as tar:
        tar.addfile(tarfile.TarInfo("x"))
    with pytest.raises(
        ValueError, match=r"a\.tar: compressed with \w+, .*plain tar: tar .*-cf NAME\.tar FOLDER"
    ):
        list(read_members(tmp_path / "a.tar"))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, "not a whole tar file"),
        (300, "not a whole tar file"),
        (600, r"truncated: x/1\.mp4 ends at byte 1212, the file has 600"),
        (1212, "not a whole tar file"),
        (1700, "truncated: its 1700 bytes end without the mark"),
        (2048, r"truncated: \./x/2\.mp4 ends at byte 2050, the file has 2048"),
        (2560, "truncated: its 2560 bytes end without the mark"),
    ],
)
def test_a_truncated_tar_is_refused_wherever_it_ends(tar, size, message):
    tar.write_bytes(tar.read_bytes()[:size])
    with pytest.raises(ValueError, match=rf"a\.tar: {message}.*; copy or write it again"):
        list(read_members(tar))


def test_a_damaged_header_is_not_taken_for_the_end(tar):
    data = bytearray(tar.read_bytes())
    data[1536 + 10] ^= 1
    tar.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.tar: damaged: byte 1536 does not begin a member"):
        list(read_members(tar))


def with_size(tar, field, kind=b"0"):
    """Write 12 bytes as the size of the first member, whose header keeps a right checksum."""
    data = bytearray(tar.read_bytes())
    data[124:136], data[148:157] = field, b" " * 8 + kind
    data[148:156] = b"%06o\0 " % sum(data[:512])
    tar.write_bytes(data)


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        (b"\xff" * 12, b"0"),  # -1
        (b"\xff" * 8 + b"\xff\xff\xf8\0", b"0"),  # -2048, from where the header would come again, and again
        (b"\x80" + b"\xff" * 11, b"0"),
        (b"\x80" + b"\xff" * 11, b"x"),  # of attributes, all of which are read at once
        (b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7, b"L"),
    ],
)
def test_impossible_sizes_are_refused(tar, field, kind):
    with_size(tar, field, kind)
    with pytest.raises(ValueError, match=r"a\.tar: .*; copy or write it again") as caught:
        list(read_members(tar))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("error", [PermissionError(13, "closed"), OSError(5, "Input/output error")])
def test_what_the_disk_says_is_not_taken_for_damage(tar, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(tarfile.TarFile, "next", fail)
    with pytest.raises(type(error)) as caught:
        list(read_members(tar))
    assert caught.value is error


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_refused(tar, kind):
    with tarfile.open(tar, "a") as more:
        link = tarfile.TarInfo("y.mp4")
        link.type, link.linkname = kind, "x/1.mp4"
        more.addfile(link)
    with pytest.raises(ValueError, match=r"a\.tar: y\.mp4 is a link, .*--dereference --hard-dereference"):
        list(read_members(tar))


def test_something_else_than_a_tar_is_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"not a tar\n" * 200)
    with pytest.raises(ValueError, match=r"a\.tar: not a whole tar file"):
        list(read_members(tmp_path / "a.tar"))
