"""SIGTERM while somebody asks: /readyz says so first, the answer still comes, and nothing is left behind."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import httpx

from gateway.home import Home
from tests.deployment import below, processes
from tests.served_home import make_home, serving


def noticing(home: Home, seconds: int) -> Home:
    settings = home.root / "gateway.toml"
    text = settings.read_text("utf-8")
    assert "[server]" in text
    settings.write_text(text.replace("[server]", f"[server]\nnotice_s = {seconds}", 1), "utf-8")
    return home


def test_an_order_to_stop_is_told_and_what_runs_is_answered_and_nothing_stays(tmp_path: Path) -> None:
    home = noticing(make_home(tmp_path / "home"), 2)
    with serving(home) as served:
        children = [each.pid for each in below(served.process.pid, processes())]
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(served.ask("SELECT COUNT(*) AS n FROM people")))
        asking.start()
        end = time.monotonic() + 20
        while 'bpk_questions_running{mode="dp"} 1' not in httpx.get(f"{served.url}/metrics").text:
            assert time.monotonic() < end
            assert asking.is_alive()
        served.process.send_signal(signal.SIGTERM)
        while (ready := httpx.get(f"{served.url}/readyz")).status_code == 200:
            assert time.monotonic() < end
        assert ready.json()["leaving"] is True
        asking.join(30)
        assert [(reply.status_code, reply.json()["status"]) for reply in answers] == [(200, "answered")]
        assert served.process.wait(30) in (0, -signal.SIGTERM)
        left = {each.pid for each in processes()} & set(children)
        assert left == set()
        assert not home.address_file.exists()
    with serving(home) as again:  # and it goes on where it was
        assert again.call("GET", f"/v1/queries/{answers[0].json()['id']}").json()["status"] == "answered"
