"""The system call filter, run step by step by a small interpreter: both architectures, on any machine."""

from __future__ import annotations

import errno
import random
import re
from pathlib import Path

import pytest

from sandbox.lockdown import capabilities, hidden, landlock
from sandbox.lockdown.seccomp import program
from sandbox.lockdown.syscalls import ALLOWED, ARGUED, AUDIT_ARCH, RENAMING, SECCOMP, numbers

PID = 4242
ALLOW, KILL = 0x7FFF0000, 0x80000000
REFUSE = 0x00050000 | errno.EPERM
MACHINES = ("x86_64", "aarch64")


def verdict(machine: str, number: int, *arguments: int, arch: int | None = None, renames: bool = False) -> int:
    """What the kernel would return for this call."""
    words = {0: number, 4: arch if arch is not None else AUDIT_ARCH[machine]}
    for index, value in enumerate(arguments):
        words[16 + 8 * index] = value & 0xFFFFFFFF
        words[20 + 8 * index] = value >> 32 & 0xFFFFFFFF
    rules = program(machine, PID, renames=renames)
    at = accumulator = 0
    while True:
        code, if_true, if_false, operand = rules[at]
        if code == 0x06:
            return operand
        if code == 0x20:
            accumulator = words.get(operand, 0)
            at += 1
            continue
        holds = accumulator == operand if code == 0x15 else bool(accumulator & operand)
        at += 1 + (if_true if holds else if_false)


def number_of(name: str, machine: str) -> int:
    return ARGUED[name][MACHINES.index(machine)]


@pytest.mark.parametrize("machine", MACHINES)
def test_exactly_the_listed_calls_are_allowed(machine: str) -> None:
    listed = set(numbers(ALLOWED, machine))
    argued = {number_of(name, machine) for name in ARGUED}
    for number in set(range(600)) - argued:
        assert verdict(machine, number) == (ALLOW if number in listed else REFUSE)


@pytest.mark.parametrize("machine", MACHINES)
def test_another_architectures_calls_kill(machine: str) -> None:
    other = AUDIT_ARCH[MACHINES[1 - MACHINES.index(machine)]]
    assert verdict(machine, 0, arch=other) == KILL
    assert verdict(machine, 0, arch=0x40000003) == KILL


def test_the_x32_numbers_match_nothing() -> None:
    assert all(verdict("x86_64", 0x40000000 | number) == REFUSE for number in numbers(ALLOWED, "x86_64"))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("mmap", (0, 4096, 3), ALLOW),
        ("mmap", (0, 4096, 7), REFUSE),
        ("mmap", (0, 4096, 5), REFUSE),
        ("mprotect", (0, 4096, 1), ALLOW),
        ("mprotect", (0, 4096, 4), REFUSE),
        ("clone", (0x3D0F00,), ALLOW),
        ("clone", (0x7D0F00,), ALLOW),
        ("clone", (17,), REFUSE),
        ("clone", (0x3D0F00 | 0x10000000,), REFUSE),
        ("clone3", (), 0x00050000 | errno.ENOSYS),
        ("ioctl", (0, 0x5401), 0x00050000 | errno.ENOTTY),
        ("fcntl", (0, 6), ALLOW),
        ("fcntl", (0, 8, PID), REFUSE),
        ("fcntl", (0, 1024), REFUSE),
        ("prctl", (15,), ALLOW),
        ("prctl", (4, 1), REFUSE),
        ("prlimit64", (0, 3, 0, 1), ALLOW),
        ("prlimit64", (0, 3, 1 << 40, 1), REFUSE),
        ("prlimit64", (0, 3, 1, 1), REFUSE),
        ("prlimit64", (1, 3, 0, 1), REFUSE),
        ("kill", (PID, 0), ALLOW),
        ("kill", (PID + 1, 0), REFUSE),
        ("kill", (-PID, 0), REFUSE),
        ("kill", (-1, 9), REFUSE),
        ("kill", (0, 9), REFUSE),
        ("tgkill", (PID, PID, 6), ALLOW),
        ("tgkill", (PID + 1, PID, 6), REFUSE),
    ],
)
def test_some_calls_are_allowed_for_some_arguments(
    machine: str, name: str, arguments: tuple[int, ...], expected: int
) -> None:
    assert verdict(machine, number_of(name, machine), *arguments) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_renaming_is_for_those_who_asked(machine: str) -> None:
    for number in numbers(RENAMING, machine):
        assert verdict(machine, number) == REFUSE
        assert verdict(machine, number, renames=True) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_every_jump_stays_inside_the_program(machine: str) -> None:
    rules = program(machine, PID, renames=True)
    assert len(rules) < 4096
    assert all(0 <= jump <= 255 for rule in rules for jump in rule[1:3])
    assert all(at + 1 + max(rule[1:3]) < len(rules) for at, rule in enumerate(rules) if rule[0] in (0x15, 0x45))


NUMBERS = Path(__file__).with_name("kernel_numbers.tsv")
HEADERS = (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h"))
NEVER = re.findall(
    r"\w+",
    """
    socket connect bind listen accept accept4 sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg socketpair
    getsockopt setsockopt execve execveat fork vfork ptrace process_vm_readv process_vm_writev process_madvise
    pidfd_open pidfd_getfd pidfd_send_signal tkill rt_sigqueueinfo rt_tgsigqueueinfo kcmp unshare setns mount
    umount2 pivot_root chroot open_tree move_mount fsopen fsmount fspick mount_setattr bpf perf_event_open
    io_uring_setup io_uring_enter io_uring_register io_setup userfaultfd keyctl add_key request_key
    memfd_create memfd_secret pkey_mprotect mincore shmget shmat msgget semget mq_open chmod fchmod fchmodat
    chown fchown fchownat lchown utimensat setxattr link linkat symlink symlinkat mknod mknodat truncate
    openat2 open_by_handle_at name_to_handle_at init_module finit_module kexec_load reboot swapon personality
    seccomp setuid setgid setresuid setgroups capset setrlimit setpriority sched_setaffinity
    sched_setscheduler iopl ioperm modify_ldt arch_prctl splice vmsplice tee sendfile inotify_init1
    fanotify_init process_mrelease landlock_create_ruleset landlock_restrict_self
    """,
)


def kernels() -> dict[str, tuple[int | None, int | None]]:
    """What the kernel itself calls each number, on x86_64 and on aarch64 (its table for newer architectures)."""
    rows = (line.split("\t") for line in NUMBERS.read_text(encoding="ascii").splitlines())
    return {name: (int(x86) if x86 else None, int(arm) if arm else None) for name, x86, arm in rows}


def test_every_number_is_the_kernels_own() -> None:
    table = kernels()
    ours = {**ALLOWED, **RENAMING, **ARGUED, "seccomp": (SECCOMP["x86_64"], SECCOMP["aarch64"])}
    ours |= {"capset": (capabilities._CAPSET["x86_64"], capabilities._CAPSET["aarch64"])}
    ours |= {"pivot_root": (hidden._PIVOT_ROOT["x86_64"], hidden._PIVOT_ROOT["aarch64"])}
    everywhere = {
        "landlock_create_ruleset": landlock._CREATE_RULESET,
        "landlock_add_rule": landlock._ADD_RULE,
        "landlock_restrict_self": landlock._RESTRICT_SELF,
        "open_tree": hidden._OPEN_TREE,
        "move_mount": hidden._MOVE_MOUNT,
        "mount_setattr": hidden._MOUNT_SETATTR,
    }
    ours |= {name: (number, number) for name, number in everywhere.items()}
    assert {name: numbers for name, numbers in ours.items() if table[name] != numbers} == {}


@pytest.mark.skipif(not all(map(Path.exists, HEADERS)), reason="the kernel's headers are not installed")
def test_the_kernels_table_is_that_of_its_headers() -> None:
    """The file here is a copy of these numbers, for machines without them; headers of other versions have more."""
    found: list[dict[str, int]] = []
    for header in HEADERS:
        lines = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(encoding="utf-8"), re.MULTILINE)
        found.append({name: int(number) for name, number in reversed(lines)})
    found[1]["newfstatat"] = found[1]["fstatat"]
    for name, both in kernels().items():
        for place, number in enumerate(both):
            assert number is None or found[place].get(name, number) == number, name


@pytest.mark.parametrize("machine", MACHINES)
def test_no_call_that_reaches_out_is_on_the_list_of_either_architecture(machine: str) -> None:
    table = kernels()
    listed = [table[name][MACHINES.index(machine)] for name in NEVER if name in table]
    assert len(listed) > 100
    assert all(verdict(machine, number) == REFUSE for number in listed if number is not None)


DECIDES = {"mmap": 2, "mprotect": 2, "clone": 0, "fcntl": 1, "prctl": 0, "kill": 0, "tgkill": 0}
"""Place of the argument that decides. The same on both: aarch64 only has the last two of `clone` in another order."""


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", DECIDES)
def test_only_the_argument_that_says_so_decides(machine: str, name: str) -> None:
    dice = random.Random(f"{machine} {name}")
    interesting = (0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 17, 1024, PID, PID + 1, 0x3D0F00, 0x7D0F00, 0x10000000)
    for value in interesting:
        seen = set()
        for _ in range(30):
            arguments = [dice.choice(interesting) for _ in range(6)]
            arguments[DECIDES[name]] = value
            seen.add(verdict(machine, number_of(name, machine), *arguments))
        assert len(seen) == 1, (value, seen)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_number_that_is_not_the_kernels_would_be_noticed(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: `read` on one architecture has the number of another call."""
    wrong = (63, 63) if machine == "x86_64" else (0, 0)
    monkeypatch.setitem(ALLOWED, "read", wrong)
    with pytest.raises(AssertionError):
        test_every_number_is_the_kernels_own()
