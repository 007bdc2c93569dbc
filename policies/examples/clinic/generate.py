"""Makes the clinic's data: `python -m policies.examples.clinic.generate DIR --people N --seed S`. Nobody in it is real.

Streams, so that memory does not grow with N (10^3 to 10^7). The same N and seed give the same bytes. Identity numbers
have the right form and check digit, under area codes (5199xx) that nobody was ever given.
"""

from __future__ import annotations

import argparse
import random
from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from pathlib import Path
from typing import TextIO

DISTRICTS = {"锦川区": "519901", "玉江区": "519902", "青原县": "519903", "云溪县": "519904", "石岭县": "519905"}
INSURANCE = {"职工医保": 55, "居民医保": 40, "": 5}
DEPARTMENTS = {"内科": 34, "外科": 16, "儿科": 12, "妇产科": 10, "骨科": 9, "眼科": 7, "口腔科": 7, "中医科": 5}
DIAGNOSES = (
    "高血压", "上呼吸道感染", "2型糖尿病", "慢性胃炎", "腰椎间盘突出", "支气管炎",
    "过敏性鼻炎", "冠心病", "龋齿", "湿疹", "偏头痛", "肺炎",
    "白内障", "甲状腺结节", "脂肪肝", "骨关节炎", "贫血", "哮喘",
    "痛风", "肾结石", "抑郁障碍", "癫痫", "类风湿关节炎", "银屑病",
    "慢性乙型肝炎", "肺结核", "多发性硬化", "重症肌无力", "苯丙酮尿症", "戈谢病",
)  # fmt: skip
"""From everyday to very rare: the last ones are what a threshold must keep back."""
LEVELS = ("三级", "二级", "二级", "一级", "一级", "一级")
SURNAMES = "王李张刘陈杨黄赵周吴徐孙马朱胡郭何高林罗"
GIVEN = "安宁文清明远思佳子晨若溪云舒景和知行亦然"

FIRST_BIRTH, BIRTH_DAYS = date(1925, 1, 1), 36_000
FIRST_VISIT, VISIT_DAYS = date(2024, 1, 1), 731
HOSPITALS = 24
SEQUENCE_NUMBERS = 1000
IDENTITIES = len(DISTRICTS) * BIRTH_DAYS * SEQUENCE_NUMBERS
STRIDE = 61_803_397
"""Shares no factor with IDENTITIES: steps through every identity once before it comes back."""
PEOPLE_MAX = 10_000_000
VISITS_MAX = 500
WITHOUT_IDENTITY = 0.004
FROM_ELSEWHERE = 0.01
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_DIGITS = "10X98765432"


@dataclass(frozen=True, slots=True)
class Resident:
    number: str
    name: str
    sex: str
    district: str
    born: str


def check_digit(first17: str) -> str:
    """The last character of an identity number (GB 11643, ISO 7064 MOD 11-2)."""
    return _CHECK_DIGITS[sum(int(digit) * weight for digit, weight in zip(first17, _WEIGHTS, strict=True)) % 11]


def resident(position: int, dice: random.Random) -> Resident:
    """The resident at `position`: no two positions below IDENTITIES share a number."""
    rest, sequence = divmod(position * STRIDE % IDENTITIES, SEQUENCE_NUMBERS)
    day, place = divmod(rest, len(DISTRICTS))
    district = list(DISTRICTS)[place]
    born = FIRST_BIRTH + timedelta(days=day)
    first17 = f"{DISTRICTS[district]}{born:%Y%m%d}{sequence:03d}"
    sex = "男" if sequence % 2 else "女"
    name = dice.choice(SURNAMES) + dice.choice(GIVEN) + (dice.choice(GIVEN) if dice.random() < 0.8 else "")
    return Resident(first17 + check_digit(first17), name, sex, district, born.isoformat())


def generate(folder: Path, people: int, seed: int) -> None:
    """Writes people.csv, visits.csv and hospitals.csv into `folder`, which is made where it is missing."""
    if not 1 <= people <= PEOPLE_MAX:
        raise ValueError(f"the number of people is from 1 to {PEOPLE_MAX}")
    folder.mkdir(parents=True, exist_ok=True)
    _hospitals(folder / "hospitals.csv")
    with _opened(folder / "people.csv") as residents, _opened(folder / "visits.csv") as visits:
        residents.write("身份证号,姓名,性别,区县,出生日期,参保类型,年收入\n")
        visits.write("就诊号,身份证号,医院编号,科室,诊断,费用,就诊日期\n")
        _people(residents, visits, people, random.Random(seed))  # noqa: S311 - an example, to be repeated; no secret


def _opened(file: Path) -> TextIO:
    return file.open("w", encoding="utf-8", newline="")


def _hospitals(file: Path) -> None:
    districts = list(DISTRICTS)
    with _opened(file) as out:
        out.write("编号,名称,等级,区县\n")
        for number in range(1, HOSPITALS + 1):
            level, district = LEVELS[number % len(LEVELS)], districts[number % len(districts)]
            out.write(f"{number},{district}第{number}医院,{level},{district}\n")


def _people(residents: TextIO, visits: TextIO, people: int, dice: random.Random) -> None:
    insurance, visit = _weighted(INSURANCE, dice), _Visits(dice)
    start, last = dice.randrange(IDENTITIES), 0
    for position in range(people):
        someone = resident(start + position, dice)
        income = "" if dice.random() < 0.03 else f"{dice.lognormvariate(10.8, 0.7):.2f}"
        shown = "未知" if dice.random() < 0.002 else someone.sex
        residents.write(
            f"{someone.number},{someone.name},{shown},{someone.district},{someone.born},{insurance()},{income}\n"
        )
        for line in visit.of(someone.number):
            last += 1
            visits.write(f"{last},{line}\n")
    for position in range(people, people + int(people * FROM_ELSEWHERE)):
        for line in visit.of(resident(start + position, dice).number):
            last += 1
            visits.write(f"{last},{line}\n")


class _Visits:
    """Visits of one person after the other. Most have a few; some come every week for years."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._department = _weighted(DEPARTMENTS, dice)
        ranks = {name: int(1e7 / (rank + 1) ** 1.1) for rank, name in enumerate(DIAGNOSES[:-3])}
        self._diagnosis = _weighted({**ranks, **dict.fromkeys(DIAGNOSES[-3:], 300)}, dice)
        self._hospital = _weighted({str(number): 100 // number + 5 for number in range(1, HOSPITALS + 1)}, dice)
        self._days = [(FIRST_VISIT + timedelta(days=day)).isoformat() for day in range(VISIT_DAYS)]

    def of(self, number: str) -> Iterator[str]:
        dice = self._dice
        for _ in range(min(VISITS_MAX, int(dice.paretovariate(1.7)) - (dice.random() < 0.3))):
            shown = "" if dice.random() < WITHOUT_IDENTITY else number
            cost = dice.lognormvariate(5.0, 0.8)
            day = self._days[int(dice.random() * VISIT_DAYS)]
            yield f"{shown},{self._hospital()},{self._department()},{self._diagnosis()},{cost:.2f},{day}"


def _weighted(weights: dict[str, int], dice: random.Random) -> Callable[[], str]:
    """Draws keys of `weights`; several times as fast as `choices` for one draw."""
    names, edges = list(weights), list(accumulate(weights.values()))
    total, draw = edges[-1], dice.random
    return lambda: names[bisect(edges, draw() * total)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m policies.examples.clinic.generate", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--people", type=int, default=20_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    arguments = parser.parse_args()
    try:
        generate(arguments.folder, arguments.people, arguments.seed)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
