"""Every policy, its examples and the licences of a home, read once; and who may see which dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Final

from gateway.errors import STATUS, Misconfigured
from policies.cases import load_cases
from policies.fields import folded
from policies.licences import load_licences
from policies.lint import lint
from policies.load import FOLDER_OF_LICENCES, load_policy
from policies.model import Case, Licence, Policy
from policies.problems import PolicyError

POLICY_FILE: Final = "policy.toml"
CASES_FILE: Final = "cases.toml"


@dataclass(frozen=True, slots=True)
class Catalog:
    """What the files under `policies/` of a home say, consistent with each other."""

    policies: Mapping[str, Policy]
    cases: Mapping[str, tuple[Case, ...]]
    licences: tuple[Licence, ...]

    @classmethod
    def load(cls, policies_dir: Path) -> Catalog:
        """Reads the folder of policies. Raises Misconfigured with the problems of all files, each with its file."""
        if not policies_dir.is_dir():
            raise Misconfigured(f"{policies_dir}: there is no such folder; `bpk init` makes one")
        problems: list[str] = []
        policies: dict[str, Policy] = {}
        cases: dict[str, tuple[Case, ...]] = {}
        for folder in _folders(policies_dir, problems):
            if (policy := _policy(folder, problems)) is not None:
                policies[policy.dataset] = policy
            cases[folder.name] = _cases(folder, problems)
        licences = _licences(policies_dir / FOLDER_OF_LICENCES, problems)
        if not problems:
            problems += _at_odds(policies_dir / FOLDER_OF_LICENCES, licences, policies)
        if problems:
            raise Misconfigured("\n".join(problems))
        return cls(MappingProxyType(policies), MappingProxyType(cases), licences)

    def licences_of(self, operator: str, day: date) -> tuple[Licence, ...]:
        """The operator's licences that are valid on `day`."""
        return tuple(item for item in self.licences if item.operator == operator and item.valid_on(day))

    def licence_for(self, operator: str, dataset: str, day: date) -> Licence | None:
        """The one licence by which `operator` may ask `dataset` on `day`; loading made sure that there are no two."""
        return next((item for item in self.licences_of(operator, day) if dataset in item.datasets), None)

    def datasets_visible_to(self, operator: str, day: date) -> tuple[str, ...]:
        """Names of the datasets whose existence this operator may know of, sorted: open ones and licensed ones.

        A withheld dataset is visible to its licensees, and answers nobody.
        """
        licensed = {name for licence in self.licences_of(operator, day) for name in licence.datasets}
        return tuple(
            sorted(name for name, policy in self.policies.items() if policy.supply == "open" or name in licensed)
        )


def _folders(policies_dir: Path, problems: list[str]) -> list[Path]:
    """The datasets' folders, by name. Two names that some file systems hold for one are a problem."""
    every = sorted(path for path in policies_dir.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))
    folders = [path for path in every if path.name != FOLDER_OF_LICENCES]
    alike: dict[str, list[Path]] = {}
    for path in folders:
        alike.setdefault(folded(path.name), []).append(path)
    problems.extend(
        f"{path}: this differs from `{first.name}` in letter case only"
        for first, *others in alike.values()
        for path in others
    )
    return folders


def _policy(folder: Path, problems: list[str]) -> Policy | None:
    path = folder / POLICY_FILE
    try:
        policy = load_policy(path)
    except PolicyError as error:
        problems.append(str(error))
        return None
    if policy.dataset != folder.name:
        problems.append(
            f"{path}: dataset: `{policy.dataset}` lies in the folder `{folder.name}`; use one name for both"
        )
    problems.extend(f"{path}: {item.place}: {item.message}" for item in lint(policy) if item.severity == "error")
    return policy


def _cases(folder: Path, problems: list[str]) -> tuple[Case, ...]:
    path = folder / CASES_FILE
    try:
        cases = load_cases(path)
    except PolicyError as error:
        problems.append(str(error))
        return ()
    numbered = enumerate(cases, start=1)
    unknown = ((number, case.code) for number, case in numbered if case.code is not None and case.code not in STATUS)
    problems.extend(f"{path}: case.{number}.code: there is no refusal `{code}`" for number, code in unknown)
    return cases


def _licences(folder: Path, problems: list[str]) -> tuple[Licence, ...]:
    try:
        return load_licences(folder)
    except PolicyError as error:
        problems.append(str(error))
        return ()


def _at_odds(folder: Path, licences: tuple[Licence, ...], policies: Mapping[str, Policy]) -> list[str]:
    """Where a licence and the policies that it names do not fit together."""
    found = []
    for licence in licences:
        for name in licence.datasets:
            policy, who = policies.get(name), f"{folder}: licence `{licence.licence}`"
            if policy is None:
                found.append(f"{who}: there is no dataset `{name}` in this home")
                continue
            if not set(licence.purposes) & set(policy.purposes):
                found.append(f"{who}: none of its purposes is one of dataset `{name}`")
            dp, share = policy.release.dp, licence.budget.get(name)
            if share is not None and dp is not None and share > dp.epsilon:
                found.append(f"{who}: its share of dataset `{name}` is above the dataset's own cap")
    return found
