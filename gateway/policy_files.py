"""The files under `policies/` of a home, judged: all that is wrong with them, and what is worth a second look.

One judge for `bpk serve` and for `bpk policy lint`: what the one refuses, the other tells beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from gateway.errors import STATUS
from policies.cases import load_cases
from policies.fields import folded
from policies.findings import Severity
from policies.licences import load_licence_text, load_licences
from policies.lint import lint
from policies.load import FOLDER_OF_LICENCES, load_policy
from policies.model import Case, Licence, Policy
from policies.problems import PolicyError
from policies.toml import parse, read

POLICY_FILE: Final = "policy.toml"
CASES_FILE: Final = "cases.toml"


@dataclass(frozen=True, slots=True)
class Told:
    """What is to be said of a file. An `error` cannot be served. `place` is dotted, empty for the whole file."""

    file: str
    severity: Severity
    place: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self._words}"

    @property
    def line(self) -> str:
        """With its severity."""
        return f"{self.file}: {self.severity}: {self._words}"

    @property
    def _words(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text}; {self.hint}" if self.hint else text


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """What could be read, and all that is to be said of it."""

    policies: Mapping[str, Policy]
    cases: Mapping[str, tuple[Case, ...]]
    licences: tuple[Licence, ...]
    told: tuple[Told, ...]


def judge_home(policies_dir: Path) -> PolicyFiles:
    """Every file of the folder of policies, and how they fit together."""
    told: list[Told] = []
    policies: dict[str, Policy] = {}
    cases: dict[str, tuple[Case, ...]] = {}
    folders = _folders(policies_dir, told)
    for folder in folders:
        if (policy := _dataset(folder, cases, told)) is not None:
            policies[policy.dataset] = policy
    folder_of_licences = policies_dir / FOLDER_OF_LICENCES
    licences = _licences(folder_of_licences, told)
    told += _at_odds(folder_of_licences, licences, policies, {folder.name for folder in folders})
    told += _void(folder_of_licences, licences, policies)
    return PolicyFiles(policies, cases, licences, tuple(told))


def judge_path(path: Path) -> tuple[Told, ...]:
    """A policy, examples or licence by itself; a dataset's folder; the folder of licences."""
    told: list[Told] = []
    if not path.is_dir():
        _judge_file(path, told)
    elif path.name == FOLDER_OF_LICENCES:
        _licences(path, told)
    else:
        _dataset(path if path.name else path.resolve(), {}, told)
    return tuple(told)


def _judge_file(path: Path, told: list[Told]) -> None:
    match _kind(path):
        case "policy":
            _policy(path, told)
        case "cases":
            _cases(path, told)
        case "licence":
            try:
                load_licence_text(read(path), str(path))
            except PolicyError as error:
                told += _errors(error)


def _kind(path: Path) -> Literal["policy", "cases", "licence"]:
    """By its place in a home; elsewhere by what it holds."""
    if path.name in (POLICY_FILE, CASES_FILE):
        return "policy" if path.name == POLICY_FILE else "cases"
    if path.absolute().parent.name == FOLDER_OF_LICENCES:
        return "licence"
    try:
        raw = parse(read(path), str(path))
    except PolicyError:  # whatever it is, it will be refused in the same words
        return "policy"
    return "licence" if "licence" in raw or "operator" in raw else "cases" if "case" in raw else "policy"


def _folders(policies_dir: Path, told: list[Told]) -> list[Path]:
    """The datasets' folders, by name. Two names that some file systems hold for one are a problem."""
    every = sorted(path for path in policies_dir.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))
    folders = [path for path in every if path.name != FOLDER_OF_LICENCES]
    alike: dict[str, list[Path]] = {}
    for path in folders:
        alike.setdefault(folded(path.name), []).append(path)
    told += (
        Told(str(path), "error", "", f"this differs from `{first.name}` in letter case only")
        for first, *others in alike.values()
        for path in others
    )
    return folders


def _dataset(folder: Path, cases: dict[str, tuple[Case, ...]], told: list[Told]) -> Policy | None:
    path = folder / POLICY_FILE
    policy = _policy(path, told)
    if policy is not None and policy.dataset != folder.name:
        message = f"`{policy.dataset}` lies in the folder `{folder.name}`"
        told.append(Told(str(path), "error", "dataset", message, "use one name for both"))
    cases[folder.name] = _cases(folder / CASES_FILE, told)
    if policy is not None and cases[folder.name] and len(policy.release.modes) > 1:
        told += _untried(str(folder / CASES_FILE), policy, cases[folder.name])
    return policy


def _untried(file: str, policy: Policy, cases: tuple[Case, ...]) -> Iterator[Told]:
    """Modes of which no example shows what they answer, where there are several to choose from."""
    tried = {case.mode or policy.release.modes[0] for case in cases if case.expect == "answer"}
    for mode in policy.release.modes:
        if mode not in tried:
            message = f"no example shows what is answered in mode `{mode}`"
            yield Told(file, "note", "case", message, f'write one with mode = "{mode}"')


def _policy(path: Path, told: list[Told]) -> Policy | None:
    try:
        policy = load_policy(path)
    except PolicyError as error:
        told += _errors(error)
        return None
    told += (Told(str(path), item.severity, item.place, item.message, item.hint) for item in lint(policy))
    return policy


def _cases(path: Path, told: list[Told]) -> tuple[Case, ...]:
    try:
        cases = load_cases(path)
    except PolicyError as error:
        told += _errors(error)
        return ()
    for number, case in enumerate(cases, start=1):
        if case.code is not None and case.code not in STATUS:
            told.append(Told(str(path), "error", f"case.{number}.code", f"there is no refusal `{case.code}`"))
    return cases


def _licences(folder: Path, told: list[Told]) -> tuple[Licence, ...]:
    try:
        return load_licences(folder)
    except PolicyError as error:
        told += _errors(error)
        return ()


def _errors(error: PolicyError) -> Iterable[Told]:
    return (Told(error.file, "error", item.place, item.message, item.hint) for item in error.problems)


def _at_odds(
    folder: Path, licences: tuple[Licence, ...], policies: Mapping[str, Policy], datasets: set[str]
) -> list[Told]:
    """Where a licence and the policies that it names do not fit together. `datasets` are there, perhaps unreadable."""
    found: list[str] = []
    for licence in licences:
        who = f"licence `{licence.licence}`"
        for name in licence.datasets:
            policy = policies.get(name)
            if policy is None:
                found += [] if name in datasets else [f"{who}: there is no dataset `{name}` in this home"]
                continue
            if not set(licence.purposes) & set(policy.purposes):
                found.append(f"{who}: none of its purposes is one of dataset `{name}`")
            dp, share = policy.release.dp, licence.budget.get(name)
            if share is not None and dp is not None and share.epsilon > dp.epsilon:
                found.append(f"{who}: its share of dataset `{name}` is above the dataset's own cap")
    return [Told(str(folder), "error", "", message) for message in found]


def _void(folder: Path, licences: tuple[Licence, ...], policies: Mapping[str, Policy]) -> Iterator[Told]:
    """Shares of a budget that is not counted, or of one that nobody can spend."""
    for licence in licences:
        for name, share in licence.budget.items():
            policy, whose = policies.get(name), f"licence `{licence.licence}`: its share of dataset `{name}`"
            if policy is None:
                continue
            if "dp" not in policy.release.modes:
                message, hint = "is void: no answer costs epsilon", "exact answers are limited by `cells_max`"
                yield Told(str(folder), "warning", "", f"{whose} {message}", hint)
            for purpose in share.purposes.keys() - set(policy.purposes):
                message, hint = f"for the purpose `{purpose}` is void", "the policy's `purposes` do not name it"
                yield Told(str(folder), "warning", "", f"{whose} {message}", hint)
