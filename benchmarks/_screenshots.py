"""Pictures of the live page for docs/how-to/look.md: `python benchmarks/_screenshots.py [DIR]`.

Eight practices with real records of tumours train one model, with noise under a budget, six in a round; one of them has
data that cannot be trained on. The run is seen after 26 of its 40 rounds. With DIR, pictures of all pages go there
too, at 390, 800 and 1,280 pixels, on light and on dark ground, to look at. It needs a Chromium.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, sync_playwright
from tests.contracts.test_page import PROGRAMS
from tests.pages import served

import hansa as h
from hansa.datasets.breast_cancer import hospitals
from hansa.store import Run, Store
from hansa.ui import about

DOCS = Path(__file__).resolve().parents[1] / "docs" / "how-to"
NAMES = (
    "Charité Mitte",
    "圣玛丽医院",
    "مستشفى الملك",
    "Ospedale Maggiore di Bologna",
    "Больница № 4",
    "Hôpital Saint-Louis",
    "St. Mary's",
    "Rigshospitalet",
)
ROUNDS, SEEN = 40, 26


def practices() -> h.App:
    """The records of four hospitals, dealt out to eight."""
    four, test = hospitals()
    X = np.concatenate([x for x, _ in four.values()])
    y = np.concatenate([y for _, y in four.values()])
    order = np.random.default_rng(0).permutation(len(y))
    data: dict[str, Any] = {
        who: (X[rows], y[rows]) for who, rows in zip(NAMES, np.array_split(order, len(NAMES)), strict=True)
    }
    broken = data[NAMES[4]][0].copy()
    broken[3, 2] = np.nan
    data[NAMES[4]] = (broken, data[NAMES[4]][1])
    pipe = (h.Clip(1.0), h.Weigh("one"), h.GaussianNoise(4.0))
    plan = h.Plan(
        h.Softmax(30, 2),
        h.FedAvg(server=h.Sgd(0.15)),
        pipe=pipe,
        training=h.Training(batch=16, learning_rate=0.3, report=False),
        sample=h.InTurn(6),
        rounds=ROUNDS,
    )
    return h.App(plan, data, test=test, budget=h.Budget(8.0, 1e-5))


def begun(store: Store, app: h.App) -> Run:
    """A run of an app."""
    plan = app.known_plan
    run = store.new(repr(plan), plan.digest, "practices.py", {"set": {"rounds": ROUNDS}}, ROUNDS)
    about.keep(app, run.folder)
    return run


def picture(
    browser: Browser, url: str, file: Path, size: tuple[int, int], dark: bool = False, whole: bool = False
) -> None:
    """A page, or what of it fits into a window of (width, height)."""
    scheme: Any = "dark" if dark else "light"
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.goto(url)
    page.screenshot(path=file, full_page=whole)
    page.close()


def main(folder: Path | None) -> None:
    """Run, look, and write."""
    program = next(filter(None, map(shutil.which, PROGRAMS)))
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        store = Store(place)
        app = practices()
        done = begun(store, app)
        for _ in app.run(done):
            pass
        done.finish("done")
        run = begun(store, app)
        for _ in islice(app.run(run), SEEN):
            pass
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        with served(Path(place)) as port:
            here = f"http://127.0.0.1:{port}"
            picture(browser, f"{here}/runs/{run.id}", DOCS / "look-run-light.png", (1280, 1120))
            picture(browser, f"{here}/runs/{run.id}", DOCS / "look-run-dark.png", (390, 1000), dark=True)
            pages = {"runs": "/", "run": f"/runs/{run.id}", "compare": f"/compare?run={done.id}&run={run.id}"}
            for name, path in pages.items() if folder else ():
                for width in (390, 800, 1280):
                    for dark in (False, True):
                        file = folder / f"{name}-{width}-{'dark' if dark else 'light'}.png"
                        picture(browser, here + path, file, (width, 900), dark, whole=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
