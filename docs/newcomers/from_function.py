import jax

import freqbias as fb

data, key = fb.data.load("digits").test, jax.random.key(0)
weights = jax.random.normal(key, (64, 10)) / 8  # yours are trained
apply_fn = lambda weights, images: images.reshape(len(images), -1) @ weights
page = fb.analyze(apply_fn, weights, data.images, data.labels, key=key)
page.save("report.html")
