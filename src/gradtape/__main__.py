"""``python -m gradtape`` is ``gradtape``, for launchers that start modules, such as ``torchrun -m``."""

from gradtape.cli.app import main

if __name__ == "__main__":
    main()
