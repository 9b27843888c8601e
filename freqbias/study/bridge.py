"""The claims C1 and C2 at each stage between the authors' protocol and the study's own.

At every stage the claim is asked twice: of this study's statistic (mean frequency by power, every
image, raw colours), and of the authors' (log amplitude of the grey perturbation, where the attack
succeeds; `study.log_amplitude`). The rest, arms, margins, Holm, is the judge's as ever.
"""

from freqbias import schema
from freqbias.study import claims, designs, protocols
from freqbias.study.claims import Claim, Registry
from freqbias.study.setting import LONG, Setting

BASES = ("C1", "C2-ends")
LOG_MARGIN = 0.1
"""Of the authors' statistic, in nats: what 0.01 cycles/pixel is of a spectrum near white, where
f rises by 0.08 for each nat between the frequencies beyond 1/4 and those below."""


def registry() -> Registry:
    """The paper's claims, and C1 and C2 at every stage."""
    found = claims.load_registry()
    of = {claim.id: claim for claim in found.claims}
    staged = [
        claim for base in BASES for stage in protocols.STAGES for claim in _at(stage, of[base])
    ]
    return found._replace(claims=(*found.claims, *staged))


def _at(stage: str, claim: Claim) -> tuple[Claim, Claim]:
    """A claim at a stage, of either statistic."""
    name, title = stage or "ours", protocols.STAGES[stage].title
    ours = claim._replace(
        id=f"{claim.id}-{name}",
        title=f"{claim.title}: {title}",
        statement=f"{claim.id} at this stage between the authors' protocol and the study's own.",
        geometries=("l2", "linf", LONG),
        arms=tuple(_arm_at(stage, arm) for arm in claim.arms),
        of=claim.id,
        stage=title,
    )
    theirs = ours._replace(
        id=f"{claim.id}-log-{name}",
        title=f"{claim.title}, log amplitude: {title}",
        statistic=schema.LOG_TILT,
        unit="nats",
        margin=LOG_MARGIN,
        geometries=("linf", LONG),
    )
    return ours, theirs


def _arm_at(stage: str, name: str) -> str:
    (arm,) = (arm for arm in designs.ENDS if Setting("", "relu", *arm).arm == name)
    return Setting("", "relu", *protocols.arm_at(stage, arm)).arm
