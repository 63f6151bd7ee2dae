#!/usr/bin/env python
"""Pictures of a page as a desktop, a phone and a dark desktop show it: tools/screenshots.py PAGE DIR [--name NAME]

Needs Chromium (apt-get install chromium), which is driven through its DevTools protocol, and nothing else. Writes
NAME-desktop.png, NAME-phone.png and NAME-dark.png. Those in docs/images are of the run of make demo:

    make demo && python tools/screenshots.py runs/demo/report.html docs/images
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--hide-scrollbars", "--force-color-profile=srgb",
)  # fmt: skip
SECONDS = 60  # for an answer of the browser


@dataclass(frozen=True)
class Look:
    """A window: its name, size in CSS pixels, pixels of the screen for each, and whether it is dark."""

    name: str
    width: int
    height: int
    scale: float = 1.0
    dark: bool = False


LOOKS = (Look("desktop", 1200, 900), Look("phone", 390, 844, scale=2.0), Look("dark", 1200, 900, dark=True))


def find_browser() -> str | None:
    """The Chromium of this machine, None without one."""
    return next((found for found in map(shutil.which, PROGRAMS) if found), None)


@dataclass
class Tab:
    """A page in a headless browser. ``errors``: what it wrote to the console as an error or threw; ``requests``: URLs
    that it asked for, those of the page itself and of data left out."""

    _send: int
    _answers: int
    _session: str = ""
    _last: int = 0
    _rest: bytes = b""
    _events: list[dict] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def call(self, method: str, **params: Any) -> dict:
        """The result of a command of the DevTools protocol; RuntimeError for one that is refused."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        _write_all(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def attach(self) -> None:
        """Make a tab and watch it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def open(self, url: str, look: Look) -> None:
        """Load a page in such a window, and wait until it is drawn."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=look.width,
            height=look.height,
            deviceScaleFactor=look.scale,
            mobile=look.width < 600,
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if look.dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self._events.clear()
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._read()
        two_frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))"
        self.value(two_frames)

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives in the page, promises awaited; RuntimeError if it throws."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", expression))
        return answer["result"].get("value")

    def picture(self) -> bytes:
        """The whole page as a PNG, also what lies below the window."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def _read(self) -> dict:
        """The next message; events are kept."""
        while b"\0" not in self._rest:
            if not select([self._answers], [], [], SECONDS)[0]:
                raise TimeoutError(f"the browser has not answered for {SECONDS} seconds")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise ConnectionError("the browser has ended")
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(text)
        if "method" in message:
            self._events.append(message)
            self._note(message["method"], message["params"])
        return message

    def _note(self, method: str, params: dict) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"].get("exception", params["exceptionDetails"])))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith("data:") and url != params.get("documentURL"):
                self.requests.append(url)


@contextlib.contextmanager
def browser(program: str) -> Iterator[Tab]:
    """A headless browser with one tab, gone when the block ends. It talks through a pipe and opens no port."""
    to_browser, from_browser = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(prefix="screenshots-", ignore_cleanup_errors=True) as folder:
        flags = [*FLAGS, f"--user-data-dir={folder}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            flags.append("--no-sandbox")  # Chromium refuses to run as root with one
        # Chromium reads descriptor 3 and writes 4: the shell puts the ends of the pipes there.
        shell = ["bash", "-c", f'exec "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}', "bash"]
        process = subprocess.Popen(
            [*shell, program, *flags],
            pass_fds=(to_browser[0], from_browser[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        try:
            tab = Tab(to_browser[1], from_browser[0])
            tab.attach()
            yield tab
        finally:
            process.kill()
            process.wait()
            os.close(to_browser[1])
            os.close(from_browser[0])


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path, help="an HTML file")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the pictures go")
    parser.add_argument("--name", help="how their names begin (that of the page)")
    args = parser.parse_args()
    program = find_browser()
    if program is None or not args.page.is_file():
        missing = f"{args.page} does not exist" if program else f"none of {', '.join(PROGRAMS)} is installed"
        print(f"screenshots: {missing}", file=sys.stderr)
        return 2
    args.folder.mkdir(parents=True, exist_ok=True)
    with browser(program) as tab:
        for look in LOOKS:
            tab.open(args.page.resolve().as_uri(), look)
            path = args.folder / f"{args.name or args.page.stem}-{look.name}.png"
            path.write_bytes(tab.picture())
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
