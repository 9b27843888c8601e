"""A small run, and what its folder holds."""

CONFIG = {"preset": "smoke", "seeds": [0, 1], "epsilon": 0.5}


def rows(architecture="conv", frequency=0.1):
    """Two seeds of one setting; the second is dead."""
    return [
        {"architecture": architecture, "kernel": "3", "seed": 0, "box": False, "freq": frequency},
        {"architecture": architecture, "kernel": "3", "seed": 1, "box": False, "freq": None},
    ]


def contents(folder):
    """Relative name -> bytes of every file, hidden ones too."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
