"""Data files that want to break the reader: a clear refusal, nothing published, nothing of the content told."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from sandbox import codec
from sandbox.domain import Domain
from sandbox.ingest import ensure
from sandbox.ingest.job import ChildReply, NotBuilt
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.snapshot import published
from tests.ingest_builders import one_table, one_table_home, policy, rows, take_in, write_parquet

POLICY = one_table("t", {"x": "integer", "s": "text"})
SECRET = "Secretname"
ROW = f"SELECT range AS u, range AS x, '{SECRET}' AS s FROM range(5000)"


def refusal(home: Path, file: str) -> str:
    one_table_home(home, "t", [file])
    with pytest.raises(IngestRefused) as caught:
        take_in(home, POLICY)
    assert published(home / "state" / "domain", "clinic") is None
    assert not list((home / "state").rglob("*.duckdb"))
    assert SECRET not in caught.value.message
    return caught.value.message


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def wrong_magic(content: bytes) -> bytes:
    return content[:-4] + b"PARE"


def wrong_footer_length(content: bytes) -> bytes:
    return content[:-8] + b"\xff\xff\xff\x7f" + content[-4:]


def noise_in_footer(content: bytes) -> bytes:
    return content[:-200] + bytes(200 - 8) + content[-8:]


def noise_in_pages(content: bytes) -> bytes:
    return content[:40] + os.urandom(2000) + content[2040:]


@pytest.mark.parametrize("damage", [cut, wrong_magic, wrong_footer_length, noise_in_footer, noise_in_pages])
def test_a_damaged_parquet_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = write_parquet(tmp_path / "t.parquet", ROW)
    file.write_bytes(damage(file.read_bytes()))
    assert "`t.parquet` of table `t`" in refusal(tmp_path, "t.parquet")


@pytest.mark.parametrize("seed", range(6))
def test_a_parquet_file_with_flipped_bytes_never_gets_out_of_the_walls(tmp_path: Path, seed: int) -> None:
    """Some flips hit nothing that is read. What counts: a snapshot or a refusal in words, never anything else."""
    import random

    dice = random.Random(seed)
    content = bytearray(write_parquet(tmp_path / "t.parquet", ROW).read_bytes())
    for _ in range(20):
        content[dice.randrange(len(content))] = dice.randrange(256)
    (tmp_path / "t.parquet").write_bytes(content)
    one_table_home(tmp_path, "t", ["t.parquet"])
    told = ""
    try:
        take_in(tmp_path, POLICY)
    except IngestRefused as refused:
        told = refused.message
    assert SECRET not in told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\n\n\n", "does not start with a line of column names"),
        (b"u,x,,s\n1,2,3,4\n", "does not start with a line of column names"),
        (b"u,x,s,s\n1,2,3,4\n", "names a column twice"),
        (b"1,2,3\n", "lacks `u`, `x`, `s`"),
        (b'u,x,s\n1,2,"Secretname\n2,3,b\n', "cannot be read near line 2"),
        (b'u,x,s\n1,2,"Secret"name\n', "cannot be read near line 2"),
        (b"u,x,s\n1,2,a\n1,2,Secretname,4\n", "cannot be read near line 3"),
        (b"u,x,s\n1,2,a\n1,2\n", "cannot be read near line 3"),
        (b"u,x,s\n1,2," + b"z" * 5_000_000 + b"\n", "has a line of more than"),
        (b"u,x,s\n1,2," + b"z" * 100_000 + b"\n", "declared `text`, but 1 row"),
        (b"u,x,s\n1,2,\xff\xfe\n", "is not UTF-8"),
        ("u,x,s\n1,2,姓\n".encode("utf-16"), "is not UTF-8"),
        ("u,x,s\n1,2,王\n".encode("gbk"), "is not UTF-8"),
        (b"u,x,s\n" + b"1,2,a\n" * 300_000 + b"1,2,\xff\n", "cannot be read"),
        (b",".join(b"c%d" % n for n in range(10_000)) + b"\n", "more than 4096 columns"),
        (b"u,x,s\n1,2,\x00\n3,\x00,a\n", "of file `t.csv`"),
        (b"PAR1" + bytes(100) + b"PAR1", "`t.csv` of table `t`"),
    ],
)
def test_a_hostile_csv_file_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert told in refusal(tmp_path, "t.csv")


def test_a_formula_or_a_path_in_a_cell_is_text_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("u,x,s\n1,2,=cmd|' /C calc'!A0\n1,2,/etc/passwd\n1,2,'); DROP TABLE t; --\n")
    one_table_home(tmp_path, "t", ["t.csv"])
    assert len(rows(take_in(tmp_path, POLICY), "SELECT s FROM t")) == 3


def test_a_packed_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(b"u,x,s\n" + b"1,2,a\n" * 100_000)
    (tmp_path / "t.csv.gz").write_bytes(cut(packed))
    assert "`t.csv.gz`" in refusal(tmp_path, "t.csv.gz")
    (tmp_path / "t.csv.gz").write_bytes(b"no gzip at all")
    assert "not a whole gzip file" in refusal(tmp_path, "t.csv.gz")


def test_a_line_that_unpacks_to_hundreds_of_megabytes_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "t.csv.gz", "wb", compresslevel=9) as out:
        out.write(b"u,x,s\n1,2,")
        for _ in range(300):
            out.write(bytes(65) * 16_000)
    assert (tmp_path / "t.csv.gz").stat().st_size < 500_000
    assert "has a line of more than" in refusal(tmp_path, "t.csv.gz")


def test_a_last_line_that_the_engine_would_drop_in_silence_is_refused(tmp_path: Path) -> None:
    """The twin: the engine's own reader, asked as we ask it, answers zero rows and no error."""
    file = tmp_path / "t.csv"
    file.write_bytes(b"u,x,s\n1,2," + b"z" * 70_000_000)
    with duckdb.connect() as con:
        types = "{'u': 'VARCHAR', 'x': 'VARCHAR', 's': 'VARCHAR'}"
        options = f"auto_detect = false, header = true, strict_mode = true, columns = {types}, max_line_size = 2097152"
        assert con.execute(f"SELECT count(*) FROM read_csv('{file}', {options})").fetchall() == [(0,)]
    assert "has a line of more than" in refusal(tmp_path, "t.csv")


def test_files_that_disagree_about_their_columns_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "p1.parquet", "SELECT 1 AS u, 1 AS x, 'a' AS s")
    write_parquet(tmp_path / "p2.parquet", f"SELECT 1 AS u, '{SECRET}' AS s")
    assert "file `p2.parquet` of table `t` lacks `x`" in refusal(tmp_path, "p*.parquet")


def test_files_that_disagree_about_their_types_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "p1.parquet", "SELECT 1 AS u, 1 AS x, 'a' AS s")
    write_parquet(tmp_path / "p2.parquet", f"SELECT 1 AS u, '{SECRET}' AS x, 'a' AS s")
    assert "1 row of file `p2.parquet` holds a value that does not fit" in refusal(tmp_path, "p*.parquet")


def test_a_column_of_another_letter_case_is_another_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("U,X,S\n1,2,a\n")
    assert "lacks `u`, `x`, `s`" in refusal(tmp_path, "t.csv")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refusal(tmp_path, "folder.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is not a regular file" in refusal(tmp_path, "pipe.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    assert "loop.csv" in refusal(tmp_path, "loop.csv")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    assert "gone.csv" in refusal(tmp_path, "gone.csv")
    assert "there is no file `none-*.csv`" in refusal(tmp_path, "none-*.csv")
    assert "/dev/zero" in refusal(tmp_path, "/dev/zero")


def test_a_file_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    assert "is of no known kind" in refusal(tmp_path, "t.xlsx")


def test_a_damaged_duckdb_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.duckdb"
    with duckdb.connect(str(file)) as con:
        con.execute(f"CREATE TABLE t AS {ROW}")
    whole = file.read_bytes()
    for content in (cut(whole), b"x" * 9000, whole[:8192] + bytes(len(whole) - 8192), whole[:100]):
        file.write_bytes(content)
        assert "`t.duckdb`" in refusal(tmp_path, "t.duckdb") or "confined reader" in refusal(tmp_path, "t.duckdb")


def test_a_view_in_a_duckdb_file_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text(f"u,x,s\n1,2,{SECRET}\n")
    with duckdb.connect(str(tmp_path / "t.duckdb")) as con:
        con.execute(f"CREATE VIEW t AS SELECT * FROM read_csv('{tmp_path / 'other.csv'}')")
    assert "holds no table `t`" in refusal(tmp_path, "t.duckdb")


def test_a_duckdb_file_with_changes_beside_it_is_refused(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "t.duckdb")) as con:
        con.execute(f"CREATE TABLE t AS {ROW}")
    (tmp_path / "t.duckdb.wal").write_bytes(b"x")
    assert "not checkpointed" in refusal(tmp_path, "t.duckdb")


INTEGER = '{"@":"Type","kind":"integer","precision":null,"scale":null}'
PRIVATE = (
    f"""{{"@":"PublicRows","table":"t","columns":[{{"@":"PublicColumn","name":"x","type":{INTEGER}}}],"rows":[[2]]}}"""
)
"""Rows of a table that is not public, called public."""


def said(rows: str = "") -> str:
    report = '{"@":"Report","tables":[]}'
    built = f"""{{"@":"Built","public_keys":[],"public_rows":[{rows}],"report":{report}}}"""
    return f"""{{"@":"ChildReply","outcome":{built}}}"""


def test_a_reader_that_a_file_took_over_cannot_pass_anything_but_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child is hostile here: it answers rubbish, too much, a lie about files, or nothing."""
    (tmp_path / "t.csv").write_text("u,x,s\n1,2,a\n")
    lies = [
        "pass",
        "import sys; sys.stdout.write('{')",
        "import sys; sys.stdout.write('[' * 100000)",
        f"print('{said()}')",
        f"import os; os.symlink('/etc/passwd', 'data.duckdb'); print('{said()}')",
        f"open('data.duckdb', 'w').write('x'); print('{said(PRIVATE)}')",
    ]
    start = subprocess.Popen
    for lie in lies:

        def hostile(_: list[str], lie: str = lie, **options: object) -> object:
            return start([sys.executable, "-I", "-c", lie], **options)

        with monkeypatch.context() as planted:
            planted.setattr(ensure.subprocess, "Popen", hostile)
            assert "failed: the confined reader" in refusal(tmp_path, "t.csv")


def test_without_isolation_nothing_is_read(tmp_path: Path) -> None:
    """Runs the child where a second thread makes confinement impossible."""
    (tmp_path / "t.csv").write_text("u,x,s\n1,2,a\n")
    one_table_home(tmp_path, "t", ["t.csv"])
    build = tmp_path / "build"
    build.mkdir()
    domain, files = Domain.load(tmp_path), ensure.sources.find(tmp_path, Domain.load(tmp_path).datasets["clinic"])
    job = ensure._job(domain, policy(POLICY), files, build)
    code = "import threading, time; threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
    code += "from sandbox.ingest import child; child.main()"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        input=codec.dumps(job),
        capture_output=True,
        cwd=build,
        timeout=60,
        check=False,
    )
    outcome = codec.loads(done.stdout, ChildReply).outcome
    assert isinstance(outcome, NotBuilt)
    assert "required isolation is missing" in outcome.message
    assert not (build / "data.duckdb").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's")
def test_the_walls_stand_while_files_are_read(tmp_path: Path) -> None:
    """The twin: the same forbidden acts inside the child are refused, and are possible when the walls are left out."""
    (tmp_path / "t.csv").write_text("u,x,s\n1,2,a\n")
    (tmp_path / "beside.txt").write_text("x")
    one_table_home(tmp_path, "t", ["t.csv"])
    code = """
import sys
from sandbox.ingest import child
def attack(job):
    done = []
    for name, act in {
        "read": lambda: open(sys.argv[1]).read(),
        "write": lambda: open(sys.argv[1] + ".new", "w"),
        "connect": lambda: __import__("socket").socket(),
        "exec": lambda: __import__("os").execv("/bin/true", ["true"]) if walls else done.append("exec"),
    }.items():
        try:
            act()
            done.append(name)
        except OSError:
            pass
    raise child.IngestRefused(",".join(done))
import socket
walls = sys.argv[2] == "walls"
if not walls:
    child.confine = lambda confinement: ()
child.build = attack
child.main()
"""
    told = {}
    for walls in ("walls", "none"):
        build = tmp_path / walls
        build.mkdir()
        domain = Domain.load(tmp_path)
        job = ensure._job(domain, policy(POLICY), ensure.sources.find(tmp_path, domain.datasets["clinic"]), build)
        done = subprocess.run(
            [sys.executable, "-I", "-c", code, str(tmp_path / "beside.txt"), walls],
            input=codec.dumps(job), capture_output=True, cwd=build, timeout=60, check=False,
        )  # fmt: skip
        outcome = codec.loads(done.stdout, ChildReply).outcome
        assert isinstance(outcome, NotBuilt)
        told[walls] = outcome.message
    assert told["walls"] == ""
    assert told["none"].startswith("read,write,connect,exec")
