"""Somebody's own study, with a network of theirs, on the executor that is asked for.

    python own_study.py OUT EXECUTOR WORKERS

In other processes the first worker that comes to ``fragile`` writes its id to OUT.pid, and waits.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from flax import linen as nn

from freqbias import runs, study
from freqbias.study import engine, executors, sweep

OUT, KIND, WORKERS = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])


class Own(nn.Module):
    """Two layers."""

    num_classes: int

    @nn.compact
    def __call__(self, images):
        hidden = nn.Dense(8)(images.reshape(len(images), -1))
        return nn.Dense(self.num_classes)(hidden)


def build(setting, dataset, budget):
    return Own(dataset.num_classes)


def fragile(of):
    """A column of somebody's own; computed at the second attempt only."""
    file = OUT.parent / f"{OUT.name}.pid"
    if KIND != "threads" and of.setting.architecture == "own" and not file.exists():
        file.with_suffix(".part").write_text(str(os.getpid()))
        file.with_suffix(".part").rename(file)
        time.sleep(300)
    return {"largest": np.asarray(of.images).max() + np.zeros(of.num_seeds)}


if __name__ == "__main__":
    engine.configure()
    study.register(study.Family("own", "Own", "#123456", "o", build, regimes=("linear",)))
    budget = study.Budget(
        seeds=(0, 3), num_images=128, epochs=1, width=8, channels=2, num_attacked=8, num_steps=2
    )
    arms = (study.Arm("own"), study.Arm("fc"))
    design = study.Design(("digits",), arms, regimes=("linear",), init_scales=(1.0,))
    measurements = (*study.MEASUREMENTS, study.Measurement(fragile))
    plan = study.plan("own", [design], budget, measurements=measurements)
    run = sweep.open_run(plan, OUT)
    sweep.run_left(plan, run, executors.make(KIND, workers=WORKERS))
    runs.write_rows(run)
