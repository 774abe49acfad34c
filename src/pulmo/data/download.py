"""Public data sets from Kaggle, through kagglehub."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pulmo.errors import DataError, MissingExtraError

KERMANY = "paultimothymooney/chest-xray-pneumonia"
RSNA = "rsna-pneumonia-detection-challenge"
CREDENTIALS = (
    "create a token at https://www.kaggle.com/settings, save it as ~/.kaggle/kaggle.json (or set KAGGLE_USERNAME "
    "and KAGGLE_KEY), and try again"
)


@dataclass(frozen=True)
class Source:
    """Where a data set lies on Kaggle, and the folder in it that `data.root` means."""

    handle: str
    page: str
    inner: str
    competition: bool


SOURCES = {
    "kermany": Source(KERMANY, f"https://www.kaggle.com/datasets/{KERMANY}", "chest_xray", competition=False),
    "rsna": Source(RSNA, f"https://www.kaggle.com/competitions/{RSNA}", "", competition=True),
}


def download(name: str) -> Path:
    """Fetch a data set into kagglehub's cache, or find it there; give the folder for `data.root`.

    Raises `DataError` for an unknown name, missing credentials, rules not accepted, or no network;
    `MissingExtraError` without kagglehub.
    """
    source = SOURCES.get(name)
    if source is None:
        raise DataError(f"no download called {name!r}: choose {' or '.join(SOURCES)} (PadChest: bimcv.cipf.es)")
    try:
        import kagglehub
        import requests
        from kagglehub.exceptions import CredentialError, UnauthenticatedError
    except ImportError as error:
        raise MissingExtraError("downloads need kagglehub: pip install 'pulmo[download]'") from error
    fetch: Callable[[str], str] = kagglehub.competition_download if source.competition else kagglehub.dataset_download
    try:
        folder = Path(fetch(source.handle))
    except (CredentialError, UnauthenticatedError) as error:
        raise DataError(f"Kaggle wants to know who downloads {name}: {CREDENTIALS}") from error
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status == 401:
            raise DataError(f"Kaggle does not take these credentials: {CREDENTIALS}") from error
        if status == 403:
            raise DataError(f"Kaggle refuses {name}: accept its rules at {source.page}, then try again") from error
        raise DataError(f"Kaggle answers with an error ({error}): see {source.page}") from error
    except requests.RequestException as error:
        raise DataError(
            f"no network to Kaggle: download {source.page} elsewhere and give data.root=FOLDER ({type(error).__name__})"
        ) from error
    return folder / source.inner if source.inner and (folder / source.inner).is_dir() else folder
