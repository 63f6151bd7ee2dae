"""Pages as Chromium shows them: whole, on a phone and in the dark, without an error or a request; and they answer."""

import io

import numpy as np
import pytest
from PIL import Image

from slowfast.reporting.compare import compare_runs
from slowfast.reporting.report import report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def tab(screenshots):
    with screenshots.browser(screenshots.find_browser()) as tab:
        yield tab


@pytest.fixture
def opened(tab):
    """A function that opens a file in a look; at the end nothing may have gone wrong or been asked for."""
    tab.errors.clear()
    tab.requests.clear()

    def open_page(path, look):
        tab.open(path.resolve().as_uri(), look)
        return tab

    yield open_page
    assert tab.errors == [] and tab.requests == []


def run_of_a_size(made_up, num_classes):
    folder = made_up().write(400, num_classes, skill=2.5)
    made_up().train()
    return folder


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_report_is_readable(opened, screenshots, which, trained_run, tmp_path, made_up):
    look = screenshots.LOOKS[which]
    tab = opened(report(trained_run, tmp_path / "report.html"), look)
    picture = np.array(Image.open(io.BytesIO(tab.picture())).convert("L"))
    assert picture.shape[1] == look.width * look.scale and picture.shape[0] > 1.5 * look.height * look.scale
    paper = np.median(picture)
    assert paper < 60 if look.dark else paper > 200
    assert tab.value("document.documentElement.scrollWidth") == look.width  # nothing sticks out to the side
    assert tab.value("[...document.querySelectorAll('img')].every(one => one.naturalWidth > 0)")
    sizes = tab.value(
        "[...document.querySelectorAll('svg text')].map(one => 12 * one.getScreenCTM().a).filter(size => size)"
    )
    assert sizes and min(sizes) >= 9.5  # CSS pixels
    assert tab.value(
        "[...document.querySelectorAll('svg')].every(one => one.querySelector('title').textContent)"
    )


def contrast(one, other):
    """Of two colours rgb(…), as WCAG 2 defines it."""

    def luminance(colour):
        parts = [int(word) / 255 for word in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("which", [0, 2])
def test_text_and_lines_stand_out(opened, screenshots, which, made_up):
    tab = opened(report(run_of_a_size(made_up, 6)), screenshots.LOOKS[which])
    paper = tab.value("getComputedStyle(document.body).backgroundColor")
    for selector in ("body", ".note", ".remark", "summary", "svg text"):
        style = f"getComputedStyle(document.querySelector('{selector}'))"
        colour = tab.value(f"{style}.fill" if selector == "svg text" else f"{style}.color")
        assert contrast(colour, paper) >= 4.5, selector
    for colour in tab.value(
        "[...document.querySelectorAll('.line')].map(one => getComputedStyle(one).stroke)"
    ):
        assert contrast(colour, paper) >= 3, colour


NUMBER_OF_FIRST_CELL = """(() => {
    const canvas = document.getElementById("matrix"), margin = Math.min(canvas.width * 0.3, 130);
    const middle = Math.round(margin + (canvas.width - margin) / 12);
    return [...canvas.getContext("2d").getImageData(middle - 8, middle - 8, 16, 16).data];
})()"""


@pytest.mark.parametrize("which", [0, 2])
def test_numbers_in_the_matrix_stand_out_from_their_cells(opened, screenshots, which, made_up):
    tab = opened(report(made_up().write(400, 6, skill=9.0)), screenshots.LOOKS[which])
    pixels = np.array(tab.value(NUMBER_OF_FIRST_CELL)).reshape(-1, 4)[:, :3]
    cell, *others = (f"rgb({', '.join(map(str, pixel))})" for pixel in pixels.tolist())
    assert max(contrast(cell, other) for other in others) >= 4


def test_headings_sort_and_the_filter_hides(opened, screenshots, made_up):
    tab = opened(report(run_of_a_size(made_up, 12)), screenshots.LOOKS[0])
    column = (
        "[...document.querySelectorAll('#class-table tbody tr')].map(row => Number(row.cells[2].dataset.key))"
    )
    button = "document.querySelectorAll('#class-table th button')[2].click()"
    tab.value(button)
    falling = tab.value(column)
    assert falling == sorted(falling, reverse=True) and len(set(falling)) > 2
    tab.value(button)
    assert tab.value(column) == sorted(falling)
    assert tab.value("document.querySelectorAll('#class-table th')[2].ariaSort") == "ascending"
    tab.value("filter.value = 'CLASS 1'; filter.dispatchEvent(new Event('input')); 0")
    shown = "[...document.querySelectorAll('#class-table tbody tr')].filter(row => !row.hidden).length"
    assert tab.value(shown) == 3  # 1, 10, 11


def mouse(tab, kind, x, y, **more):
    tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)


def place_of(tab, selector, across, down):
    """Coordinates in the window of a point of an element, scrolled to."""
    tab.value(f"document.querySelector('{selector}').scrollIntoView({{block: 'center'}}); 0")
    box = tab.value(f"document.querySelector('{selector}').getBoundingClientRect().toJSON()")
    return box["x"] + across * box["width"], box["y"] + down * box["height"]


def test_a_chart_tells_the_values_under_the_pointer_and_hides_lines(opened, screenshots, made_up):
    tab = opened(report(run_of_a_size(made_up, 6)), screenshots.LOOKS[0])
    mouse(tab, "mouseMoved", *place_of(tab, "#learning1 svg", 0.99, 0.5))
    readout = "document.querySelector('#learning1 .readout').textContent"
    assert tab.value(readout) == "epoch 5: training, top-1 82, validation, top-1 84, validation, top-5 94"
    tab.value("document.querySelector('#learning1 .legend button').click()")
    mouse(tab, "mouseMoved", *place_of(tab, "#learning1 svg", 0.98, 0.5))
    assert tab.value(readout) == "epoch 5: validation, top-1 84, validation, top-5 94"
    assert (
        tab.value("getComputedStyle(document.querySelector('#learning1 [data-series]')).visibility")
        == "hidden"
    )
    key = {"key": "ArrowLeft", "code": "ArrowLeft", "windowsVirtualKeyCode": 37}
    tab.value("document.querySelector('#learning1 svg').focus()")
    tab.call("Input.dispatchKeyEvent", type="rawKeyDown", **key)
    assert tab.value(readout).startswith("epoch 4: ")


def test_the_matrix_names_its_cells_and_zooms(opened, screenshots, made_up):
    folder = made_up().write(2000, 400, clips=1, crops=1, skill=9.0)
    tab = opened(report(folder), screenshots.LOOKS[0])
    cell = "document.getElementById('cell').textContent"
    mouse(tab, "mouseMoved", *place_of(tab, "#matrix", 0.0001, 0.0001))
    assert tab.value(cell).startswith("class 0: ") and tab.value(cell).endswith("recognised")
    mouse(tab, "mouseMoved", *place_of(tab, "#matrix", 0.999, 0.0001))
    assert tab.value(cell).endswith("taken for class 399")
    x, y = place_of(tab, "#matrix", 0.5, 0.5)
    for _ in range(20):
        mouse(tab, "mouseWheel", x, y, deltaX=0, deltaY=-100)
    mouse(tab, "mouseMoved", x, y)
    zoomed = tab.value(cell)
    assert 190 <= int(zoomed.split(":")[0].removeprefix("class ")) <= 210
    pixels = "document.getElementById('matrix').getContext('2d').getImageData(2, 200, 100, 300).data.join('')"
    assert len(set(tab.value(pixels))) > 2  # names stand at the side
    tab.value("document.getElementById('zoom-all').click()")
    tab.value("order.value = 'accuracy'; order.dispatchEvent(new Event('change')); 0")
    mouse(tab, "mouseMoved", *place_of(tab, "#matrix", 0.0001, 0.0001))
    assert tab.value(cell)


def test_names_are_text_whatever_they_hold(opened, screenshots, made_up):
    hostile = (
        "</script><script>document.title='taken'</script>\"><img src=http://example.org/x onerror=alert(1)>"
    )
    names = [f"{hostile}{number}" for number in range(6)]
    paths = [f"{hostile}{number}.mp4" for number in range(60)]
    tab = opened(report(made_up().write(names=names, paths=paths, recipe=hostile)), screenshots.LOOKS[0])
    assert tab.value("document.title") != "taken" and tab.value("document.images.length") == 0
    assert tab.value("document.querySelectorAll('script').length") == 2
    assert tab.value("document.querySelector('#class-table td').textContent") == names[0]


def test_a_script_that_came_in_would_not_run(opened, screenshots, made_up, tab):
    path = report(made_up().write())
    page = path.read_text().replace("<main>", "<main><script>document.title = 'taken'</script>")
    path.write_text(page)
    tab.open(path.resolve().as_uri(), screenshots.LOOKS[0])
    assert tab.value("document.title") != "taken" and "script" in tab.errors[0].lower()
    tab.errors.clear()


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_comparison_is_readable(opened, screenshots, which, made_up, tmp_path):
    folders = [made_up(f"skill {skill}").write(skill=skill) for skill in (1, 2, 3)]
    for skill in (1, 2, 3):
        made_up(f"skill {skill}").train()
    compare_runs(folders, tmp_path / "compare.html")
    look = screenshots.LOOKS[which]
    tab = opened(tmp_path / "compare.html", look)
    assert tab.value("document.documentElement.scrollWidth") == look.width
    assert tab.value("document.querySelectorAll('.legend button').length") >= 9


def test_errors_and_requests_would_be_seen(tab, screenshots, tmp_path):
    """That the checks above can fail."""
    page = "<img src='http://127.0.0.1:9/x.png'><script>console.error('told'); nonsense()</script>"
    (tmp_path / "page.html").write_text(page)
    tab.open((tmp_path / "page.html").as_uri(), screenshots.LOOKS[0])
    assert tab.requests == ["http://127.0.0.1:9/x.png"]
    assert any("told" in error for error in tab.errors) and any("nonsense" in error for error in tab.errors)
    with pytest.raises(RuntimeError, match="nonsense is not defined"):
        tab.value("nonsense()")


def test_pictures_of_a_page_by_command(screenshots, made_up, tmp_path, monkeypatch, capsys):
    words = ["screenshots.py", str(report(made_up().write())), str(tmp_path / "pictures"), "--name", "one"]
    monkeypatch.setattr("sys.argv", words)
    assert screenshots.main() == 0
    sizes = {path.name: Image.open(path).size[0] for path in (tmp_path / "pictures").iterdir()}
    assert sizes == {"one-desktop.png": 1200, "one-phone.png": 780, "one-dark.png": 1200}
    monkeypatch.setattr("sys.argv", ["screenshots.py", str(tmp_path / "none.html"), str(tmp_path)])
    assert screenshots.main() == 2 and "none.html does not exist" in capsys.readouterr().err
