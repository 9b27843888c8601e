"""What a preset costs before it is run: operations, hours at a given speed, memory.

    python -m experiments.cost --preset=paper --image_shape=32,32,3 --tflops=10
    python -m experiments.cost --preset=authors --parts=authors --datasets=fashion_mnist --seeds=0-2

Counts the floating-point operations of one forward pass, one gradient of the parameters and one of
the image of every network that ``reproduce`` would train by the same flags, as XLA counts them on
programs that are lowered and not run, and multiplies by the passes that the budget asks for; of
linear networks, as they are trained, through their effective predictor. Hours are operations over
the speed that is *sustained*, which is yours to give: small convolutions reach a few percent of an
accelerator's peak. Memory is that of the largest setting: images, parameters with momentum for all
seeds, and all values of one forward pass kept at once, for a training batch of all seeds or for all
attacked images of one seed, whichever is more. No data set is read: all count as of the one shape
given. Convolutions are counted by the route that this device would take.
"""

from freqbias.cli import cost

if __name__ == "__main__":
    cost.main()
