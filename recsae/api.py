"""The stages and the results from Python: the same as the command line, on one warehouse.

A run is named by its id, the start of one, or ``latest``: the last run to finish of the kind that
the method needs, controls excepted. Stages that are done are skipped unless ``force``. Every error
is a RecsaeError with a ``message`` and, mostly, a ``hint``; what DuckDB refuses in a query of yours
is its own error.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsae.errors import RecsaeError, UsageError
from recsae.progress import WARNING, Reporter, telling
from recsae.progress import reporter as progress_on_stderr

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    from recsae.sae.model import SAE
    from recsae.vectors import VectorTable
    from recsae.warehouse import Warehouse as Store

    Vectors = str | Path | npt.NDArray[Any] | pl.DataFrame
    """A file, an array (n, d), or a frame with the columns id, vector, position, bias."""
    Ids = str | Path | Sequence[str] | Sequence[int] | npt.NDArray[Any]
    """A file of ids, or the ids, in the order of the rows."""

_OPTION = re.compile(r"(?<!\S)--([A-Za-z][A-Za-z-]*)")


class Warehouse:
    """A folder with the results of all stages, and one with the prepared data sets.

    >>> import numpy as np, recsae
    >>> wh = recsae.Warehouse("warehouse", data="data")
    >>> wh.prepare("planted", users=60, items=80, concepts=4, noise_tags=4)
    'planted'
    >>> rng = np.random.default_rng(0)
    >>> run = wh.import_vectors(
    ...     rng.normal(size=(61, 4)), rng.normal(size=(81, 4)), dataset="planted", model_name="mine"
    ... )
    >>> wh.sql("select model, dataset, status from raw.runs where run_id = $run", run=run).rows()
    [('mine', 'planted', 'done')]
    """

    def __init__(
        self, path: str | Path = "warehouse", data: str | Path = "data", *, progress: bool = False
    ) -> None:
        """Use the warehouse in ``path`` (made by the first stage that writes to it).

        ``progress`` shows on stderr what the command line shows. Without it nothing is said, but
        what the command line calls a warning is a UserWarning.
        """
        self.path = Path(path)
        self.data = Path(data)
        self._reporter: Reporter = progress_on_stderr() if progress else _WarningReporter()

    def __repr__(self) -> str:
        return f"Warehouse({str(self.path)!r}, data={str(self.data)!r})"

    # -- reading ------------------------------------------------------------------------------

    def sql(self, text: str, **params: object) -> pl.DataFrame:
        """The result of a query; ``$name`` in it is the argument of that name.

        It only reads, through the same door as ``recsae query``: the warehouse, and files that the
        query names. Arguments called ``run`` or ``run_id``, or whose name ends in one of them after
        an underscore, are runs: an id, the start of one, or ``latest``. The views ``runs``,
        ``latents``, ``concepts`` and others are made for this; the command ``recsae schema`` lists
        the relations.

        Raises DataError for a statement that does more than read.

        >>> wh.sql("select count(*) as n from latents where run_id = $run", run=sae).item()
        8
        """
        from recsae.warehouse.door import statement

        with self._reading() as store:
            return store.read(statement(text), params)

    def runs(self) -> pl.DataFrame:
        """All runs, latest first: run_id, kind, model, dataset, params, status, stages and more.

        >>> wh.runs()["kind"].to_list()
        ['sae', 'recommender']
        """
        with self._reading() as store:
            return store.runs()

    def latents(self, run: str = "latest") -> pl.DataFrame:
        """The latents of an SAE run, one row each, with label and confidence where they are made.

        Columns are those of the view ``latents``: latent_id (from 0), label, concept, status,
        confidence (0-1), q_value and more.

        >>> wh.latents(sae).columns[:5]
        ['run_id', 'latent_id', 'label', 'concept', 'status']
        """
        return self.sql(
            "select * from latents where run_id = $run_id order by latent_id",
            run_id=self._find(run, "sae"),
        )

    def report(self, run: str = "latest") -> dict[str, Any]:
        """What ``recsae report --json`` prints: run, histogram, concepts and controls.

        Raises MissingStageError when the concepts of the run have not been verified.

        >>> report = wh.report(sae)
        >>> report["run"]["n_latents"]
        8
        """
        from recsae.report.collect import collect, verified_run

        with self._reading() as store:
            found = collect(store, verified_run(store, run))
        return found.as_json([row for row in found.concepts if row["place"] == 1])

    def sae(self, run: str = "latest") -> SAE:
        """The trained autoencoder of an SAE run, a torch module.

        >>> wh.sae(sae).W_dec.shape  # latents, width of the vectors
        torch.Size([8, 4])
        """
        from recsae.stages.encode import load_sae

        with self._reading() as store:
            found = store.find_run(run, "sae")
        return load_sae(self.path, found)

    # -- data and recommenders ----------------------------------------------------------------

    def prepare(
        self,
        dataset: str,
        *,
        source: str | Path | None = None,
        items: str | Path | int | None = None,
        items_file: str | Path | None = None,
        name: str | None = None,
        force: bool = False,
        **options: Any,
    ) -> str:
        """Prepare a data set as ``recsae data prepare`` does; returns the name to use it by.

        ``options`` are those of the command: core=5, user="who", tags="genre,mood", ... ``items``
        is the file that describes the items, for planted data how many there are (``items_file``
        is another name of the first).

        >>> wh.prepare("planted", users=60, items=80, concepts=4, noise_tags=4)
        'planted'
        """
        from recsae import datasets

        if dataset == "planted" and items is not None:
            options["items"] = items
        elif items is not None:
            if items_file is not None:
                raise UsageError("items and items_file are the same", "give one of them")
            items_file = Path(str(items))
        with self._working():
            place = datasets.prepare(
                dataset,
                self.data,
                source=None if source is None else Path(source),
                items_file=None if items_file is None else Path(items_file),
                force=force,
                report=self._reporter.note,
                stored_as=name,
                **{key: _between_commas(value) for key, value in options.items()},
            )
        return place.name

    def train(
        self,
        model: str,
        dataset: str,
        *,
        init_from: str | Path | None = None,
        force: bool = False,
        **options: Any,
    ) -> str:
        """Train a recommender and return the id of its run.

        ``options`` are those of ``recsae train`` (emb_size=64, lr=1e-3, ...); those not given come
        from the preset of the model and the data set. ``init_from`` is a state dict of the
        reference to start from.

        >>> run = wh.train("BPRMF", "planted", emb_size=4, epochs=1)
        >>> run.startswith("bprmf-planted-")
        True
        """
        from recsae import stages
        from recsae.recommenders.presets import FIELDS, model_name, preset

        with self._working():
            if init_from is not None and "position_from" in FIELDS[model_name(model)]:
                options.setdefault("position_from", "recent")
            config = preset(model, dataset, **options)
            return stages.train(
                *(self.path, self.data, model, dataset, config),
                force=force,
                reporter=self._reporter,
                init_from=None if init_from is None else Path(init_from),
            )

    def import_vectors(
        self,
        users: Vectors,
        items: Vectors,
        *,
        dataset: str | None = None,
        interactions: str | Path | None = None,
        item_metadata: str | Path | None = None,
        name: str | None = None,
        user_ids: Ids | None = None,
        item_ids: Ids | None = None,
        positions: Sequence[int] | npt.NDArray[Any] | None = None,
        item_bias: str | Path | Sequence[float] | npt.NDArray[Any] | None = None,
        score: str = "dot",
        model_name: str = "vectors",
        force: bool = False,
        **columns: Any,
    ) -> str:
        """Make a recommender run of vectors (n_users, d) and (n_items, d); returns its id.

        Vectors are files, arrays, or frames with the columns id, vector and perhaps position and
        bias. Without ids row r has the id r, counted from 0. ``positions`` (n,) makes ``users``
        vectors of users at positions: 1 to n - 1 of every user with n interactions, and
        ``user_ids`` (n,) then repeat. ``item_bias`` (n_items,) is added to the scores.

        The data is a prepared ``dataset``, or a file of ``interactions`` that is prepared under
        ``name`` with all its rows; ``columns`` are the options of ``recsae import vectors`` about
        it: user, item, time, title, tags, tag_separator, separator, quote, encoding and split.

        Raises DataError for vectors that do not fit each other or the data.

        >>> import numpy as np
        >>> rng = np.random.default_rng(1)
        >>> run = wh.import_vectors(
        ...     rng.normal(size=(60, 4)), rng.normal(size=(80, 4)), dataset="planted",
        ...     user_ids=range(1, 61), item_ids=range(1, 81), score="cosine", model_name="mine",
        ... )
        >>> run.startswith("mine-planted-")
        True
        """
        from recsae import stages

        with self._working():
            config = stages.VectorsConfig(score=score, model_name=model_name)
            user_table = _table("users", users, user_ids, columns.get("user"), positions=positions)
            item_table = _table("items", items, item_ids, columns.get("item"), bias=item_bias)
            if (dataset is None) == (interactions is None):
                raise UsageError("it takes dataset or interactions, one of them")
            if interactions is not None:
                dataset = stages.prepare_interactions(
                    self.data,
                    Path(interactions),
                    name,
                    item_metadata=None if item_metadata is None else Path(item_metadata),
                    per_position=user_table.positions is not None,
                    reporter=self._reporter,
                    **columns,
                )
            assert dataset is not None
            return stages.import_vectors(
                self.path,
                self.data,
                dataset,
                user_table,
                item_table,
                config,
                force=force,
                reporter=self._reporter,
            )

    # -- autoencoders and concepts ------------------------------------------------------------

    def train_sae(
        self,
        run: str = "latest",
        k: int | None = None,
        *,
        checkpoint_every: int | None = None,
        force: bool = False,
        **options: Any,
    ) -> str:
        """Train an autoencoder with ``k`` latents per case on a recommender; the id of its run.

        ``options`` are the fields of SAEConfig, as of ``recsae sae train``: scale=16, epochs=30.

        >>> wh.train_sae(recommender, k=2, scale=2, epochs=1) == sae
        True
        """
        from recsae import stages
        from recsae.config import SAEConfig

        with self._working():
            config = _with_options(SAEConfig().with_options(k=k), options)
            return stages.train_sae(
                self.path,
                run,
                config,
                force=force,
                reporter=self._reporter,
                checkpoint_every=checkpoint_every,
            )

    def encode(self, run: str = "latest", *, force: bool = False) -> str:
        """Write the activations of all cases of an SAE run; returns its id.

        >>> wh.encode(sae) == sae
        True
        """
        from recsae import stages

        with self._working():
            return stages.encode(self.path, run, force=force, reporter=self._reporter)

    def concepts(self, run: str = "latest", *, force: bool = False, **options: Any) -> str:
        """Build the concept of every latent of an SAE run; returns its id.

        ``options`` are the fields of ConceptsConfig: label_tags=5, history_items=10, ...

        >>> wh.concepts(sae) == sae
        True
        """
        from recsae import stages
        from recsae.config import ConceptsConfig

        with self._working():
            config = _with_options(ConceptsConfig(), options)
            return stages.concepts(self.path, run, config, force=force, reporter=self._reporter)

    def confidence(
        self, run: str = "latest", *, controls: bool = False, force: bool = False, **options: Any
    ) -> str:
        """Verify the concepts of an SAE run on held-out users and items; returns its id.

        ``options`` are the fields of ConfidenceConfig: permutations=20, min_active=20,
        min_users=10, ... ``controls`` scores an untrained SAE and the raw neurons as well.

        >>> wh.confidence(sae, permutations=1) == sae
        True
        """
        from recsae import stages
        from recsae.config import ConfidenceConfig

        with self._working():
            config = _with_options(ConfidenceConfig(), options)
            run_id = stages.confidence(self.path, run, config, force=force, reporter=self._reporter)
            if controls:
                stages.controls(self.path, run_id, force=force, reporter=self._reporter)
        return run_id

    @contextmanager
    def _reading(self) -> Iterator[Store]:
        """The warehouse, open for reading."""
        from recsae.warehouse import Warehouse as Store

        with self._working(), Store.open(self.path, read_only=True) as store:
            yield store

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Tell which runs are meant, and call options in errors what they are called in Python."""
        try:
            with telling(self._reporter.note):
                yield
        except RecsaeError as error:
            known = _in_python(error)
            if known is error:
                raise
            raise known from error

    def _find(self, run: str, kind: Any) -> str:
        with self._reading() as store:
            return store.find_run(run, kind).run_id


def _in_python(error: RecsaeError) -> RecsaeError:
    """The error with ``tag_separator`` for ``--tag-separator``, but for whole commands in it."""
    texts = [
        text if text is None or "recsae " in text else _OPTION.sub(_argument, text)
        for text in (error.message, error.hint)
    ]
    if texts == [error.message, error.hint]:
        return error
    return type(error)(str(texts[0]), texts[1])


def _argument(found: re.Match[str]) -> str:
    return found[1].replace("-", "_")


class _WarningReporter(Reporter):
    """Says nothing but warnings."""

    def note(self, text: str) -> None:
        if text.startswith(WARNING):
            warnings.warn(text.removeprefix(WARNING), UserWarning, stacklevel=2)


def _between_commas(value: Any) -> Any:
    """Names in a list as the command line has them."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _with_options(config: Any, options: dict[str, Any]) -> Any:
    """A configuration with other values; UsageError for a field that it does not have."""
    known = config.to_json()
    for name in options:
        if name not in known:
            raise UsageError(f"{name} is not an option", f"there is {', '.join(known)}")
    return config.with_options(**options)


def _table(
    name: str,
    vectors: Vectors,
    ids: Ids | None,
    column: str | None,
    *,
    positions: Any = None,
    bias: Any = None,
) -> VectorTable:
    """The checked table of a file, an array or a frame."""
    import numpy as np
    import polars as pl

    from recsae.vectors import read_bias, read_vectors, table_of
    from recsae.vectors.files import frame_arrays, read_ids

    is_file, bias_is_file = isinstance(vectors, str | Path), isinstance(bias, str | Path)
    if is_file and (positions is not None or not (ids is None or isinstance(ids, str | Path))):
        raise UsageError(f"{name} come from a file, and their ids or positions do not")
    if isinstance(vectors, str | Path):
        ids_file = Path(ids) if isinstance(ids, str | Path) else None
        table = read_vectors(Path(vectors), ids_file=ids_file, column=column or f"{name[:-1]}_id")
    elif isinstance(vectors, pl.DataFrame):
        if ids is not None or positions is not None:
            raise UsageError(f"the frame of {name} has ids and positions of its own")
        arrays = frame_arrays(name, vectors, column)
        table = table_of(name, arrays.pop("vectors"), arrays.pop("ids"), **arrays)
    else:
        given = read_ids(Path(ids)) if isinstance(ids, str | Path) else ids
        given = list(given) if isinstance(given, range) else given
        table = table_of(name, vectors, given, positions=positions)
    if bias is None:
        return table
    if bias_is_file:
        return table.with_bias(read_bias(Path(bias)))
    return table.with_bias(table_of("item_bias", np.reshape(bias, (-1, 1)), constant=True))
