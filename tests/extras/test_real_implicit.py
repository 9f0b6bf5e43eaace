"""Models that implicit itself trained and saved: the run recommends what the library recommends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from vectors.toy_vectors import Toy, toy

from recsae.warehouse import Warehouse

if TYPE_CHECKING:
    from conftest import Result

pytestmark = [
    pytest.mark.implicit,
    pytest.mark.filterwarnings("default"),  # those of the libraries are not ours
]
MODELS = {
    "ALS": ("als", "AlternatingLeastSquares", {"random_state": 0}),
    "BPR": ("bpr", "BayesianPersonalizedRanking", {"random_state": 0, "iterations": 200}),
    "LMF": ("lmf", "LogisticMatrixFactorization", {"random_state": 0}),
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return toy(tmp_path_factory.mktemp("implicit"))


def matrix(given: Toy) -> Any:
    """Users by items, everything before the test item; row = source id."""
    sparse = pytest.importorskip("scipy.sparse")
    known = given.content.interactions.filter(pl.col("split") != "test")
    users, items = (
        np.array([0, *map(int, ids)])[known[column].to_numpy()]
        for ids, column in ((given.user_ids, "user_id"), (given.item_ids, "item_id"))
    )
    return sparse.csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=(61, 81))


@pytest.mark.parametrize("name", list(MODELS))
def test_it_recommends_the_same(
    name: str, cli: Callable[..., Result], given: Toy, root: Path, tmp_path: Path
) -> None:
    module, kind, options = MODELS[name]
    library = pytest.importorskip("implicit")
    model = getattr(getattr(library, module), kind)(factors=8, num_threads=1, **options)
    known = matrix(given)
    model.fit(known, show_progress=False)
    model.save(tmp_path / "model.npz")
    result = cli(
        *("import", "implicit", tmp_path / "model.npz", "--dataset", "planted"),
        *("--data", given.data, "--warehouse", root),
    )
    assert result.code == 0, result.err
    assert result.out.startswith(f"{name.lower()}-planted-")
    assert "warning" not in result.err
    assert ("all items agree in column 9 (from 0)" in result.err) is (name == "LMF")
    with Warehouse.open(root, read_only=True) as warehouse:
        best = warehouse.sql(
            "select u.source_user_id::integer as user, i.source_item_id::integer as item, r.score "
            "from raw.recommendations as r inner join raw.cases as c using (run_id, case_id) "
            "inner join raw.users as u using (user_id) inner join raw.items as i "
            "on i.item_id = r.item_id order by c.case_id, r.rank"
        )
    for user in range(1, 61):
        # one more, since item 0 of the matrix belongs to nobody
        items, scores = model.recommend(user, known[user], N=11, filter_already_liked_items=True)
        kept = items != 0
        own = best.filter(user=user)
        found, expected = own["score"].to_numpy(), scores[kept][:10]
        if name == "LMF":  # the user bias, which is added to all of a user's scores, is taken out
            expected = expected + (found[0] - expected[0])
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert set(own["item"][:5]) <= set(items[kept][:6].tolist())
