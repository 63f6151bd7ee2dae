"""Only markup of ours is markup; a page asks for nothing."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from slowfast.reporting.markup import Markup, document, element, escaped, json_block, number, table

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onload='alert(1)",
    "<!-- <script> ]]> &lt;",
    "\u2028line\u2029",
    "nul\x00and\x1bescape",
    "not utf-8 \udcff",
]


class Tags(HTMLParser):
    """Tags with their attributes, and text, as a browser would find them."""

    def __init__(self, markup):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(markup)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_text_and_attributes_stay_what_they_are(text):
    found = Tags(element("p", text, title=text))
    shown = text.replace("\udcff", "\\udcff").replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert found.tags == [("p", {"title": shown})]
    assert found.text == shown


@pytest.mark.parametrize("text", HOSTILE)
def test_data_cannot_end_its_block_and_come_back_whole(text):
    block = json_block("data", {"names": [text]})
    assert not set("<>&\u2028\u2029") & set(block[block.index(">") + 1 : -len("</script>")])
    inside = re.fullmatch(r'<script type="application/json" id="data">(.*)</script>', block, re.DOTALL)[1]
    assert json.loads(inside) == {"names": [text]}


def test_numbers_that_json_has_no_word_for_become_null():
    assert "[null,1.5]" in json_block("data", [float("nan"), 1.5])


def test_markup_is_kept_and_attributes_are_spelled():
    inner = element("b", 1, " & ", None)
    assert inner == "<b>1 &amp; </b>" and escaped(inner) is inner
    assert element("td", inner, class_="x", data_key=3, hidden=True, lang=None) == (
        '<td class="x" data-key="3" hidden><b>1 &amp; </b></td>'
    )
    assert element("img", src="a") == '<img src="a">' and isinstance(inner, Markup)


def test_columns_of_numbers_stand_to_the_right_and_are_sorted_by_their_value():
    found = table(
        ["name", "share"],
        [("b", number(50, "{:.1f} %")), ("a", number(float("nan"), "{}"))],
        caption="c",
        sortable=True,
    )
    assert found.count('class="number"') == 3
    assert 'data-key="50.0">50.0 %<' in found and 'data-key="-inf">-<' in found
    assert "data-key" not in table(["share"], [(number(1, "{}"),)], caption="c")
    assert "<tbody></tbody>" in table(["a"], [], caption="none")


def test_a_page_may_ask_for_nothing_and_run_no_script_but_its_own():
    page = document("a <title>", element("p", "x"), {}).decode()
    (policy,) = (tag["content"] for name, tag in Tags(page).tags if tag.get("http-equiv"))
    script = page[page.rindex("<script>") + len("<script>") : page.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")
    assert not re.search(r"https?://|url\(|@import", page)
    assert "<title>a &lt;title&gt;</title>" in page
