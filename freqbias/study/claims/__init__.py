"""Claims: the registry, the judge, and tables of verdicts."""

from freqbias.study.claims.judge import judge as judge
from freqbias.study.claims.judge import judge_independence as judge_independence
from freqbias.study.claims.readings import moving as moving
from freqbias.study.claims.readings import readings as readings
from freqbias.study.claims.readings import settled as settled
from freqbias.study.claims.registry import CARO2024 as CARO2024
from freqbias.study.claims.registry import Claim as Claim
from freqbias.study.claims.registry import Independence as Independence
from freqbias.study.claims.registry import Registry as Registry
from freqbias.study.claims.registry import as_content as as_content
from freqbias.study.claims.registry import load_registry as load_registry
from freqbias.study.claims.registry import parse_registry as parse_registry
from freqbias.study.claims.registry import select as select
from freqbias.study.claims.registry import with_arms as with_arms
from freqbias.study.claims.tables import Verdicts as Verdicts
from freqbias.study.claims.tables import as_markdown as as_markdown
from freqbias.study.claims.tables import as_table as as_table
from freqbias.study.claims.tables import as_text as as_text
from freqbias.study.claims.tables import independence_table as independence_table
from freqbias.study.claims.tables import readings_table as readings_table

__all__ = [
    "CARO2024",
    "Claim",
    "Independence",
    "Registry",
    "Verdicts",
    "as_content",
    "as_markdown",
    "as_table",
    "as_text",
    "independence_table",
    "judge",
    "judge_independence",
    "load_registry",
    "moving",
    "parse_registry",
    "readings",
    "readings_table",
    "select",
    "settled",
    "with_arms",
]
