"""The system call filter, run step by step by a small interpreter: both architectures, on any machine."""

from __future__ import annotations

import errno

import pytest

from sandbox.lockdown.seccomp import program
from sandbox.lockdown.syscalls import ALLOWED, ARGUED, AUDIT_ARCH, RENAMING, numbers

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
