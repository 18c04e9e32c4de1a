"""``python -m services.repository``: the repository as a process."""

import os

from services.repository.service import Repository
from services.repository.settings import RepositorySettings
from shared.process.host import run


def main() -> None:
    run("repository", RepositorySettings, Repository, os.environ)


if __name__ == "__main__":
    main()
