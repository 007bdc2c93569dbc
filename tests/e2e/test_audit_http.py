"""What an auditor fetches over HTTP holds offline, with the verifier's own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gateway.audit import tiles
from gateway.audit.climbing import climb, extends, leaf_hash
from gateway.audit.note import parse_checkpoint, signed_by
from gateway.audit.offline import main
from gateway.cli.command import app
from tests import second_verifier
from tests.served_home import Served


def get(served: Served, route: str) -> httpx.Response:
    reply = served.call("GET", f"/v1/audit/{route}", None, "aud", "auditor")
    assert reply.status_code == 200, reply.text
    return reply


def test_proofs_lead_to_signed_checkpoints(served: Served) -> None:
    old = get(served, "checkpoint").json()
    served.ask("SELECT COUNT(*) FROM people")
    older = parse_checkpoint(old["checkpoint"])
    found = get(served, f"proof/inclusion?index={older.size - 1}").json()
    newest = parse_checkpoint(found["checkpoint"])
    assert signed_by(newest, old["key"])
    path = [bytes.fromhex(step) for step in found["proof"]]
    assert climb(found["index"], found["size"], bytes.fromhex(found["leaf_hash"]), path) == newest.root
    grown = get(served, f"proof/consistency?old={older.size}").json()
    newer = parse_checkpoint(grown["checkpoint"])
    path = [bytes.fromhex(step) for step in grown["proof"]]
    assert newer.size > newest.size > older.size
    assert extends(older.size, newer.size, older.root, newer.root, path)
    again = get(served, f"proof/consistency?old={older.size}&new={newest.size}").json()
    path = [bytes.fromhex(step) for step in again["proof"]]
    assert extends(older.size, newest.size, older.root, newest.root, path)
    assert again["checkpoint"] is None


def test_the_numbers_of_an_answer_hold_offline_and_no_others_do(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fresh, stored, fetched again, and in an auditor's evidence; exact and open answers too."""
    vkey = get(served, "checkpoint").json()["key"]
    file = tmp_path / "told.json"

    def judged(value: Any) -> bool:
        file.write_text(json.dumps(value, indent=1), encoding="utf-8")
        return main([str(file), "--key", vkey]) == 0 and "the numbers are those" in capsys.readouterr().out

    sql = "SELECT sex, COUNT(*) AS n, AVG(income) AS m FROM people GROUP BY sex ORDER BY n"
    fresh = served.ask(sql).json()
    stored = served.ask(sql).json()
    exact = served.ask("SELECT sex, COUNT(*) AS n FROM people GROUP BY sex", mode="aggregate").json()
    opened = served.ask("SELECT id, level FROM hospitals ORDER BY id", mode="open").json()
    assert not fresh["reused"]
    assert stored["reused"]
    for answer in (fresh, stored, exact, opened):
        again = served.call("GET", f"/v1/queries/{answer['id']}", None, "op-a").json()
        evidence = get(served, f"bundle/{answer['id']}").json()
        assert judged(answer)
        assert judged(again)
        assert judged(evidence)
        assert second_verifier.told(answer, answer["receipt"]["record"])
        assert second_verifier.told(evidence["answer"], answer["receipt"]["record"])
        for told in (answer, evidence["answer"]):
            told["rows"][0][1] = "another"
        assert not judged(answer)
        assert not judged(evidence)


def test_the_command_writes_evidence_with_numbers_while_the_home_is_served(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = served.ask("SELECT COUNT(*) AS n FROM people").json()
    file = tmp_path / "evidence.json"
    done = CliRunner().invoke(
        app, ["audit", "bundle", answer["id"], "--home", str(served.home.root), "--output", str(file), "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["numbers"] is True
    assert json.loads(file.read_bytes())["answer"]["rows"] == answer["rows"]
    assert main([str(file), "--key", get(served, "checkpoint").json()["key"]]) == 0
    assert "the numbers are those" in capsys.readouterr().out


def test_the_tiles_that_are_served_are_a_log(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = get(served, "tlog/checkpoint").text
    (tmp_path / "checkpoint").write_text(note, encoding="utf-8")
    vkey = get(served, "checkpoint").json()["key"]
    (tmp_path / "key").write_text(vkey, encoding="utf-8")
    for tile in tiles.of_size(parse_checkpoint(note).size):
        target = tmp_path / tile.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(get(served, f"tlog/{tile.path}").content)
    assert main([str(tmp_path), "--key", vkey]) == 0, capsys.readouterr().out


def test_reading_tiles_is_recorded_once_and_reading_proofs_each_time(served: Served) -> None:
    for _ in range(3):
        served.call("GET", "/v1/audit/tlog/checkpoint", None, "reader-of-tiles", "auditor")
        served.call("GET", "/v1/audit/proof/inclusion?index=0&size=1", None, "reader-of-tiles", "auditor")
    read = [record["code"] for record in served.records(actor="reader-of-tiles")]
    assert sorted(read) == ["proof"] * 3 + ["tiles"]


def test_the_receipt_of_an_answer_is_checked_offline(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = served.ask("SELECT COUNT(*) FROM people").json()
    vkey = get(served, "checkpoint").json()["key"]
    for name, content in (("answer", answer), ("receipt", answer["receipt"])):
        (tmp_path / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
        assert main([str(tmp_path / name), "--key", vkey]) == 0
        assert "is in the log (" in capsys.readouterr().out
    assert main([str(tmp_path / "answer")]) == 2, "without a key anybody's receipt would do"
    answer["receipt"]["record"]["actor"] = "mallory"
    (tmp_path / "answer").write_text(json.dumps(answer), encoding="utf-8")
    assert main([str(tmp_path / "answer"), "--key", vkey, "--json"]) == 1
    leaf = get(served, f"proof/inclusion?index={answer['receipt']['index']}").json()["leaf_hash"]
    assert leaf_hash(b"") != bytes.fromhex(leaf)
