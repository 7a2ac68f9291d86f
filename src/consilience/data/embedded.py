"""The data sets that scikit-learn carries in its own package: present everywhere, no download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from consilience.data.source import CLASSIFICATION, REGRESSION, RealSource, Table, Task, register_source
from consilience.errors import require

__all__ = ["BreastCancer", "Diabetes", "Digits", "Wine"]


@dataclass(frozen=True)
class _Embedded(RealSource):
    """A data set that ``sklearn.datasets.<loader>()`` returns."""

    loader: ClassVar[str]
    image_shape: ClassVar[tuple[int, ...] | None] = None

    def load(self) -> Table:
        """Return every sample there is."""
        sklearn = require("sklearn", extra="study", purpose=f"the data source {self.name!r}")
        datasets = require("sklearn.datasets", extra="study", purpose=f"the data source {self.name!r}")
        bunch = getattr(datasets, self.loader)()
        classification = self.tasks == CLASSIFICATION
        return Table(
            inputs=np.asarray(bunch.data, np.float64),
            targets=np.asarray(bunch.target, np.int64)
            if classification
            else np.asarray(bunch.target, np.float64)[:, None],
            task="classification" if classification else "regression",
            classes=tuple(str(name) for name in bunch.target_names) if classification else (),
            image_shape=self.image_shape,
            feature_names=tuple(str(name) for name in bunch.feature_names),
            origin=f"{self.loader} of scikit-learn {sklearn.__version__}",
        )


@register_source
@dataclass(frozen=True)
class Digits(_Embedded):
    """Handwritten digits: 1,797 images of 8×8, 10 classes (UCI test set of Alpaydin & Kaynak).

    >>> Digits().load().inputs.shape
    (1797, 64)
    """

    name: ClassVar[str] = "digits"
    title: ClassVar[str] = "Handwritten digits, 1,797 images of 8×8, 10 classes"
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION
    loader: ClassVar[str] = "load_digits"
    image_shape: ClassVar[tuple[int, ...] | None] = (8, 8)


@register_source
@dataclass(frozen=True)
class Wine(_Embedded):
    """Chemistry of wines: 178 rows, 13 features, 3 cultivars (UCI, Forina et al.).

    >>> Wine().load().inputs.shape
    (178, 13)
    """

    name: ClassVar[str] = "wine"
    title: ClassVar[str] = "Chemistry of wines, 178 rows, 13 features, 3 classes"
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION
    loader: ClassVar[str] = "load_wine"


@register_source
@dataclass(frozen=True)
class BreastCancer(_Embedded):
    """Cell nuclei of breast masses: 569 rows, 30 features, 2 classes (UCI, Wolberg et al.).

    >>> BreastCancer().load().classes
    ('malignant', 'benign')
    """

    name: ClassVar[str] = "breast-cancer"
    title: ClassVar[str] = "Cell nuclei of breast masses, 569 rows, 30 features, 2 classes"
    tasks: ClassVar[frozenset[Task]] = CLASSIFICATION
    loader: ClassVar[str] = "load_breast_cancer"


@register_source
@dataclass(frozen=True)
class Diabetes(_Embedded):
    """Progression of diabetes after a year: 442 patients, 10 features (Efron et al. 2004).

    >>> Diabetes().load().targets.shape
    (442, 1)
    """

    name: ClassVar[str] = "diabetes"
    title: ClassVar[str] = "Progression of diabetes, 442 patients, 10 features"
    tasks: ClassVar[frozenset[Task]] = REGRESSION
    loader: ClassVar[str] = "load_diabetes"
