"""Torch modules through a callback: logits, gradients and attacks are those of JAX on its twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import freqbias as fb
from freqbias import analysis, attacks, interop, spectral

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

KEY = jax.random.key(0)
IMAGES = np.asarray(jax.random.uniform(jax.random.key(1), (6, 5, 4, 3)))
LABELS = np.array([0, 1, 2, 1, 0, 2])
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Dropout(), torch.nn.Flatten()
    return torch.nn.Sequential(*layers, torch.nn.Linear(4 * 3 * 2, 3)).eval()


@pytest.fixture(scope="module")
def theirs(module):
    return interop.from_torch(module, mean=MEAN, std=STD)


@pytest.fixture(scope="module")
def ours(module):
    """The same network in JAX."""
    kernel, bias, weight, offset = (jnp.asarray(p.detach().numpy()) for p in module.parameters())

    def apply_fn(params, images):
        kernel, bias, weight, offset = params
        x = (images - jnp.array(MEAN)[None, None, None]) / jnp.array(STD)[None, None, None]
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "OIHW", "NCHW")
        )
        x = jnp.tanh(x + bias[None, :, None, None]).reshape(images.shape[0], -1)
        return x @ weight.T + offset[None]

    return interop.Network(apply_fn, (kernel, bias, weight, offset))


def test_logits_are_torchs_and_jaxs(module, theirs, ours):
    seen = (IMAGES - np.array(MEAN)) / np.array(STD)
    with torch.no_grad():
        expected = module(torch.from_numpy(seen.transpose(0, 3, 1, 2).astype(np.float32)))
    for logits in (theirs.apply_fn((), IMAGES), jax.jit(theirs.apply_fn)((), IMAGES)):
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(theirs.apply_fn((), IMAGES), ours.apply_fn(ours.params, IMAGES),
                               atol=1e-5)  # fmt: skip


def test_gradients_go_through_jit_vmap_and_scan(theirs, ours):
    def total(network, images):
        return jnp.sum(jnp.sin(network.apply_fn(network.params, images)))

    slopes = [jax.jit(jax.grad(lambda x, n=net: total(n, x)))(IMAGES) for net in (theirs, ours)]
    np.testing.assert_allclose(*slopes, atol=1e-5)
    rows = [
        attacks.jacobian(*net, jnp.asarray(IMAGES), (jnp.tile(jnp.arange(3), (6, 1)),)).gradients
        for net in (theirs, ours)
    ]
    np.testing.assert_allclose(*rows, atol=1e-5)  # vmapped over classes
    stacked = jnp.stack([IMAGES, 1 - IMAGES, IMAGES / 2])
    mapped = [jax.vmap(lambda x, n=net: n.apply_fn(n.params, x))(stacked) for net in (theirs, ours)]
    np.testing.assert_allclose(*mapped, atol=1e-5)
    scanned = jax.lax.map(lambda x: theirs.apply_fn((), x), stacked)
    np.testing.assert_allclose(scanned, mapped[1], atol=1e-5)


@pytest.mark.parametrize(
    "attack",
    [
        attacks.pgd(attacks.L2(), epsilon=0.5, num_steps=4),
        attacks.pgd(attacks.Linf(), epsilon=0.05, num_steps=4, driver="scan"),
        attacks.ddn(num_steps=4),
        attacks.deepfool(attacks.L2(), num_steps=3),
    ],
    ids=["pgd", "pgd_scan", "ddn", "deepfool"],
)
def test_attacks_find_the_same(attack, theirs, ours):
    found = [attack(*net, IMAGES, LABELS, KEY) for net in (theirs, ours)]
    np.testing.assert_allclose(found[0].delta, found[1].delta, atol=2e-3)
    np.testing.assert_array_equal(found[0].status, found[1].status)


def test_an_analysis_is_the_same_to_the_page(theirs, ours):
    attack = {"PGD": attacks.pgd(attacks.L2(), epsilon=0.5, num_steps=3)}
    found = fb.analyze(
        {"torch": theirs, "jax": ours}, images=IMAGES, labels=LABELS, attacks=attack, key=KEY,
        batch_size=4, progress=False,
    )  # fmt: skip
    table = found.differences()
    apart = table[table.statistic.isin(["mean_frequency", "relative_norm"])].estimate.dropna()
    assert len(apart) > 3
    assert (apart.abs() < 2e-3).all()
    assert "torch (one network)" in found.page()


def test_ten_lines_of_a_newcomer(tmp_path):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(60, 2)).eval()
    network = interop.from_torch(net)
    labels = np.asarray(jnp.argmax(network.apply_fn((), IMAGES), -1))
    step = {"FGSM": attacks.fgsm(attacks.L2(), epsilon=0.1, bounds=None)}
    found = fb.analyze(*network, IMAGES, labels, attacks=step, key=KEY, progress=False)
    assert found.save(tmp_path / "report.html").stat().st_size > 10_000
    weight = net[1].weight.detach().numpy().reshape(2, 3, 5, 4).transpose(0, 2, 3, 1)
    expected = float(spectral.mean_frequency(weight[1] - weight[0]))
    table = found.table()
    table = table[(table.statistic == "mean_frequency") & (table.perturbations == "all")]
    mine = table[table.network == "network"].estimate
    np.testing.assert_allclose(mine, expected, rtol=1e-4)  # of the attack and of the Jacobian


def test_what_does_not_fit_says_what_to_do(module):
    with pytest.raises(interop.UnfitError, match=r"call module\.eval\(\) first"):
        interop.from_torch(torch.nn.Sequential(torch.nn.Dropout()))
    with pytest.raises(TypeError, match=r"module must be a torch\.nn\.Module"):
        interop.from_torch(lambda x: x)
    with pytest.raises(TypeError, match=r"adapted first: freqbias\.interop\.from_torch"):
        fb.analyze({"net": module}, images=IMAGES, labels=LABELS, key=KEY)
    network = interop.from_torch(module, resize=(9, 9))
    with pytest.raises(interop.UnfitError, match=r"images of shape \(1, 3, 9, 9\)"):
        interop.check_network(*network, IMAGES)

    class Pair(torch.nn.Module):
        def forward(self, images):
            return images.mean((2, 3)), images

    pair = interop.from_torch(Pair().eval())
    with pytest.raises(interop.UnfitError, match=r"got a tuple.*output=lambda out: out\[0\]"):
        interop.check_network(*pair, IMAGES)
    picked = interop.from_torch(Pair().eval(), output=lambda out: out[0])
    assert interop.check_network(*picked, IMAGES) == 3
    np.testing.assert_allclose(picked.apply_fn((), IMAGES), IMAGES.mean((1, 2)), rtol=1e-5)


def test_a_module_that_ignores_its_images_is_dead():
    class Constant(torch.nn.Module):
        def forward(self, images):
            return torch.zeros(images.shape[0], 3)

    network = interop.from_torch(Constant().eval())
    keys = attacks.image_keys(KEY, 6)
    found = analysis.jacobian_power(*network, jnp.asarray(IMAGES), keys, num_probes=3)
    assert (found.status == fb.Status.DEAD).all()
