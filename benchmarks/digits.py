"""How good the imagined digits are, through the bundle and the runtime, judged by a network trained here.

    python benchmarks/digits.py bundles/digits.twin

A small classifier learns the digits on the views that the twin was trained on. It then tells on held-out digits how
good it is itself; on samples, drawn and rendered by the int8 models, which digits there are and how sure it is;
and through its features the Frechet distance between samples and held-out digits, beside that between training and
held-out digits, which is the floor. All three sets have the same size.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from twin_edge.bundle import Bundle
from twin_edge.cameras.folder import FolderCamera, natural_key
from twin_edge.errors import CameraEndedError
from twin_edge.files import write_atomic
from twin_edge.imagining import imagine, write_sheet
from twin_edge.models import load_runtime
from twin_edge.preprocess import Viewer
from twin_edge.quality import psnr, ssim
from twin_edge.twin import Twin

DIGITS = Path("clips/digits")
SHEET = Path("docs/benchmarks/digits.png")
RESULTS = Path("benchmarks/results/digits.json")
SEED = 5
SURE = 0.9
SHOWN = 100
ROUNDS = 4
"""Of `imagine`: with more, the digits look more sure and more alike (Frechet distance 19.8, 9.6, 16.9 for 0, 4, 12)."""


def read_digits(bundle: Bundle) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Returns the views of all digits, in the order in which training saw them, and which digit each is."""
    names = sorted((path.name for path in DIGITS.glob("*.png")), key=natural_key)
    camera, viewer = FolderCamera(DIGITS), Viewer(bundle.manifest.view)
    camera.open()
    views = []
    try:
        while True:
            views.append(viewer(camera.read(1.0).image))
    except CameraEndedError:
        camera.close()
    return np.stack(views), np.array([int(name.removesuffix(".png")[-1]) for name in names])


def measure(bundle: Bundle) -> dict[str, Any]:
    """Returns all figures."""
    # Before TensorFlow: the other way round, tflite-runtime dies of the symbols that both export.
    runtime = load_runtime()
    from twin_training.frechet import features_of, frechet, train_classifier
    from twin_training.recipe import load_recipe

    views, labels = read_digits(bundle)
    first = round(len(views) * load_recipe("digits").data.train_share)
    count = min(first, len(views) - first)
    known, unseen = views[:count], views[-count:]
    started = time.monotonic()
    classifier = train_classifier(known, labels[:count], SEED)
    trained_s = time.monotonic() - started
    features, logits = (network_output(classifier, index) for index in (0, 1))
    samples = np.stack(list(imagine(bundle, count, seed=SEED, rounds=ROUNDS, runtime=runtime)))
    scores = features_of(logits, samples).astype(np.float64)
    probabilities = np.exp(scores - scores.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    held_out = features_of(features, unseen)
    right = features_of(logits, unseen).argmax(1) == labels[-count:]
    twin = Twin(bundle, runtime)
    again = [twin.render(twin.encode(view)) for view in unseen]
    return {
        "bundle": bundle.digest,
        "runtime": str(runtime),
        "images_in_each_set": count,
        "classifier_training_s": round(trained_s, 1),
        "classifier_accuracy_held_out": round(float(right.mean()), 4),
        "frechet_samples_to_held_out": round(frechet(features_of(features, samples), held_out), 2),
        "frechet_reconstructions_to_held_out": round(frechet(features_of(features, np.stack(again)), held_out), 2),
        "frechet_floor_training_to_held_out": round(frechet(features_of(features, known), held_out), 2),
        "share_of_samples_surer_than_0.9": round(float((probabilities.max(1) > SURE).mean()), 4),
        "samples_of_each_digit": np.bincount(probabilities.argmax(1), minlength=10).tolist(),
        "held_out_of_each_digit": np.bincount(labels[-count:], minlength=10).tolist(),
        "held_out_psnr_db": round(float(np.mean([psnr(a, b) for a, b in zip(unseen, again, strict=True)])), 2),
        "held_out_ssim": round(float(np.mean([ssim(a, b) for a, b in zip(unseen, again, strict=True)])), 4),
    }


def network_output(network: Any, index: int) -> Any:
    """Returns the network with one of its outputs only."""
    import keras

    return keras.Model(network.input, network.outputs[index])


def main() -> int:
    """Prints the table; writes it to benchmarks/results/digits.json, and the sheet to docs/benchmarks/digits.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("bundles/digits.twin"))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    bundle = Bundle.open(parser.parse_args().bundle)
    figures = measure(bundle)
    table = Table("what", "measured", title="imagined digits")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), str(value))
    Console().print(table)
    write_sheet(bundle, SHEET, SHOWN, seed=SEED, rounds=ROUNDS, runtime=load_runtime())
    write_atomic(RESULTS, (json.dumps(figures, indent=2) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
