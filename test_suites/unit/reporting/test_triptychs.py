"""The worst images of a run, read back from store and data set: the right ones, cut, within the budget."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iqa_robustness import datasets
from iqa_robustness.bench.sources import ImageTar
from iqa_robustness.datasets.base import View, view
from iqa_robustness.images import from_uint8
from iqa_robustness.reporting.gallery import Gallery, Triptych
from iqa_robustness.reporting.triptychs import SIDE, gallery
from iqa_robustness.store import Key, Store

HEIGHT, WIDTH = 48, 64


def decoded(uri: str) -> np.ndarray:
    assert uri.startswith("data:image/webp;base64,")
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.array(image).astype(int)


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    """A data set of four plain pictures: 40, 80, 120 and 160 of 255."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = ["file,mos"]
    for number in range(4):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * (number + 1), np.uint8)).save(folder / f"p{number}.png")
        rows.append(f"p{number}.png,{number}")
    (folder / "mos.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return f"folder:{folder}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def chosen(dataset: str, count: int | None = None) -> View:
    return view(datasets.load(dataset), count=count, size=(HEIGHT, WIDTH))


def keep_images(store: Store, tmp_path: Path, name: str, images: list[np.ndarray]) -> str:
    tar = ImageTar(tmp_path / f"{name}.tar")
    tar.add(from_uint8(np.stack(images)))
    return store.put(Key({"stage": "attack", "name": name}), {"images.tar": tar.close()}).digest


def brighter(data: View, by: int) -> list[np.ndarray]:
    return [data.pixels(row) + np.uint8(by) for row in range(len(data))]


@pytest.fixture
def stored(store: Store, pictures: str, make_record: Any, outcome: Any, tmp_path: Path) -> Any:
    """An attacked cell in the store: images brighter by 8, of which p2's score moved furthest."""

    def make(name: str = "cell", **changes: Any) -> Any:
        data = chosen(pictures)
        ids = [item.id for item in data.items]
        clean = np.array([10.0, 20.0, 30.0, 40.0])
        facts = {"id": ids, "mos": [0, 1, 2, 3], "content": ids, "clean": clean, "defended_clean": clean}
        facts |= {"defended_attacked": clean + np.array([1, 2, -9, 3]), "attacked": clean + 1, "linf": 8 / 255}
        facts |= {axis: changes.pop(axis) for axis in ("scenario", "worst_source") if axis in changes}
        record = make_record(images=4, dataset=pictures, **facts)
        record.meta["cell"] |= {"dataset": pictures, "images": None, "size": [HEIGHT, WIDTH]}
        record.meta["dataset"]["digest"] = changes.pop("digest", data.digest)
        record.meta["attack"]["entry"] = keep_images(store, tmp_path, name, brighter(data, 8))
        record.meta.update(changes.pop("meta", {}))
        entry = store.put(Key({"stage": "cell", "name": name}), record.files())
        return outcome(name=name, record=entry.digest, **changes)

    return make


def only(found: Gallery) -> Triptych:
    assert found.left_out == {}
    (triptych,) = found.triptychs.values()
    return triptych


def test_the_image_that_moved_furthest_is_shown_as_it_was_and_as_it_became(stored: Any, store: Store) -> None:
    shown = only(gallery([stored()], store))
    assert shown.image == "p2"
    assert np.abs(decoded(shown.clean) - 120).max() <= 2
    assert np.abs(decoded(shown.adversarial) - 128).max() <= 2
    assert shown.factor == 127 // 8
    assert np.abs(decoded(shown.difference) - (128 + 8 * shown.factor)).max() <= 2
    assert shown.texts[0] == "score 30.0, defended 30.0"
    assert shown.texts[1] == "score 31.0, defended 21.0"
    assert shown.texts[2].startswith("l∞ 8/255, SSIM 0.980")
    assert shown.window == ""


def test_an_adaptive_cell_shows_the_image_of_the_search_that_was_worst(
    stored: Any, store: Store, pictures: str, tmp_path: Path
) -> None:
    data = chosen(pictures)
    few = chosen(pictures, 3)
    row = [item.id for item in few.items].index("p2")
    kept = {
        "adaptive": {"entry": keep_images(store, tmp_path, "adaptive", brighter(data, 20)), "images": 4},
        "queried": {"entry": keep_images(store, tmp_path, "queried", brighter(few, 40)), "images": 3},
    }
    assert row != 3
    for worst, expected in (("adaptive", 140), ("queried", 160)):
        cell = stored(worst, scenario="adaptive", worst_source=worst, meta={"sources": kept})
        assert np.abs(decoded(only(gallery([cell], store)).adversarial) - expected).max() <= 2


def test_the_worst_verdicts_come_first_and_no_more_than_asked(stored: Any, store: Store) -> None:
    cells = [stored(f"cell {number}") for number in range(4)]
    red = stored("the red one", status="fail")
    found = gallery([*cells, red], store, most=2)
    assert [*found.triptychs] == ["the red one", "cell 0"]


def test_the_budget_is_kept(stored: Any, store: Store) -> None:
    cells = [stored(f"cell {number}") for number in range(4)]
    size = only(gallery(cells[:1], store)).size
    found = gallery(cells, store, budget=3 * size - 1)
    assert len(found.triptychs) == 2
    assert found.size == 2 * size
    assert gallery(cells, store, budget=0) == Gallery()


def test_cells_without_attacked_images_are_not_asked_for_any(outcome: Any, store: Store) -> None:
    cells = [
        outcome(attack="", strength="", scenario="clean"),
        outcome(status="missing", record=""),
        outcome(metric="iqa_robustness.metrics.planted:Robust"),
    ]
    assert gallery(cells, store) == Gallery()


def test_what_is_not_there_is_said_and_does_not_stop_the_others(stored: Any, store: Store, outcome: Any) -> None:
    moved = {"attack": {"access": "white-box", "trace": [], "entry": "0" * 64}}
    cells = [
        outcome(name="lost record"),
        stored("lost images", meta=moved),
        stored("other images", digest="0" * 64),
        stored("whole"),
    ]
    found = gallery(cells, store)
    assert [*found.triptychs] == ["whole"]
    assert found.left_out == {
        "lost record": "the record is not in the store",
        "lost images": "the adversarial images are not in the store",
        "other images": "the data set holds other images than those that were attacked",
    }


def test_a_data_set_that_has_moved_leaves_the_page_without_pictures(stored: Any, store: Store, pictures: str) -> None:
    cell = stored()
    folder = Path(pictures.removeprefix("folder:"))
    folder.rename(folder.with_name("elsewhere"))
    found = gallery([cell], store)
    assert found.triptychs == {}
    assert "pictures" in found.left_out["cell"]


def test_a_large_image_is_cut_where_most_was_changed_and_never_scaled(
    store: Store, outcome: Any, make_record: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    clean = np.full((SIDE + 40, 2 * SIDE, 3), 90, np.uint8)
    attacked = clean.copy()
    attacked[30:50, 300:340] = 150
    Image.fromarray(clean).save(folder / "one.png")
    (folder / "mos.csv").write_text("file,mos\none.png,1\n", encoding="utf-8")
    data = view(datasets.load(f"folder:{folder}"), size=clean.shape[:2])
    record = make_record(images=1, contents=1, id=["one"])
    record.meta["cell"] |= {"dataset": f"folder:{folder}", "images": None, "size": [*clean.shape[:2]]}
    record.meta["dataset"]["digest"] = data.digest
    record.meta["attack"]["entry"] = keep_images(store, tmp_path, "large", [attacked])
    entry = store.put(Key({"stage": "cell"}), record.files())
    shown = only(gallery([outcome(record=entry.digest)], store))
    assert shown.window == f"{SIDE} × {SIDE} of {2 * SIDE} × {SIDE + 40} pixels, where most was changed"
    pixels = decoded(shown.adversarial)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert (pixels[..., 0] > 120).sum() == pytest.approx(20 * 40, rel=0.1)


def test_equal_runs_show_equal_bytes(stored: Any, store: Store) -> None:
    cell = stored()
    assert gallery([cell], store) == gallery([cell], store)
