"""Every policy, its examples and the licences of a home, read once; and who may see which dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType

from gateway.errors import Misconfigured
from gateway.policy_files import judge_home
from policies.model import Case, Licence, Policy


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
        found = judge_home(policies_dir)
        if problems := [str(told) for told in found.told if told.severity == "error"]:
            raise Misconfigured("\n".join(problems))
        return cls(MappingProxyType(found.policies), MappingProxyType(found.cases), found.licences)

    def licences_of(self, operator: str, day: date) -> tuple[Licence, ...]:
        """The operator's licences that are valid on `day`."""
        return tuple(item for item in self.licences if item.operator == operator and item.valid_on(day))

    def licence_for(self, operator: str, dataset: str, day: date) -> Licence | None:
        """The one licence by which `operator` may ask `dataset` on `day`; loading made sure that there are no two."""
        return next((item for item in self.licences_of(operator, day) if dataset in item.datasets), None)

    def visible_to(self, operator: str, day: date) -> dict[str, Policy]:
        """The policies that this operator may know of, by name in order: open ones, licensed ones, and of the others
        what is open to everybody.

        A withheld dataset is visible to its licensees, and answers nobody.
        """
        licensed = {name for licence in self.licences_of(operator, day) for name in licence.datasets}
        seen = {name: policy.seen(licensed=name in licensed) for name, policy in sorted(self.policies.items())}
        return {name: policy for name, policy in seen.items() if policy is not None}
