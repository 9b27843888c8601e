"""What is installed here and what computes: versions, devices, memory, and what is missing.

freqbias doctor
"""

import os
import re
import sys
import time
from importlib import metadata

import jax
import jax.numpy as jnp

from freqbias import data, runs
from freqbias.cli import flags


def prepare() -> None:
    """There is nothing to check."""


def execute(plan: None) -> None:
    """Prints the report."""
    del plan
    print("\n".join(report()))


def report() -> list[str]:
    """The lines of the report."""
    lines = ["versions"]
    lines += [f"  {name:16}{version}" for name, version in runs.folder.versions().items()]
    lines += ["devices"]
    lines += [f"  {_device(device)}" for device in jax.devices()]
    lines += [f"  {os.cpu_count()} CPU cores, {_memory()}"]
    started = time.monotonic()
    square = jnp.ones((512, 512)) @ jnp.ones((512, 512))
    works = float(square[0, 0]) == 512
    lines += [
        f"  a product of matrices {'works' if works else 'is WRONG'} "
        f"({time.monotonic() - started:.2f} s, compilation included)",
        "settings",
        f"  matrix products      {jax.config.jax_default_matmul_precision or 'default'} precision",  # type: ignore[attr-defined]
        f"  64-bit floats        {'on' if jax.config.jax_enable_x64 else 'off'}",  # type: ignore[attr-defined]
        f"  compiled programs    {jax.config.jax_compilation_cache_dir or 'not kept'}",  # type: ignore[attr-defined]
        f"  data sets            {', '.join(data.embedded.NAMES)} come with the package",
        "optional packages",
    ]
    return lines + _optional()


def _device(device: jax.Device) -> str:
    stats = device.memory_stats() if hasattr(device, "memory_stats") else None
    limit = (stats or {}).get("bytes_limit")
    return f"{device.device_kind} ({device.platform})" + (
        f", {limit / 2**30:.1f} GiB" if limit else ""
    )


def _memory() -> str:
    """Of the machine, where it says so."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        whole, free = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "memory unknown"
    return f"{whole * page / 2**30:.1f} GiB of memory, {free * page / 2**30:.1f} free"


def _optional() -> list[str]:
    """Of each extra what is missing, and the line that installs it."""
    try:
        required = metadata.requires("freqbias") or []
    except metadata.PackageNotFoundError:
        return ["  freqbias itself is not installed (pip install .); its extras are unknown"]
    extras: dict[str, list[str]] = {}
    for text in required:
        found = re.match(r"([A-Za-z0-9._-]+)[^;]*;.*extra == ['\"](\w+)['\"]", text)
        if found:
            extras.setdefault(found[2], []).append(found[1])
    lines = []
    for extra, packages in extras.items():
        missing = [name for name in packages if not _is_installed(name)]
        if missing:
            lines.append(f"  {extra:16}missing: {', '.join(missing)}")
            lines.append(f"  {'':16}{sys.executable} -m pip install 'freqbias[{extra}]'")
        else:
            lines.append(f"  {extra:16}complete")
    return lines


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def main() -> None:
    """The binary."""
    flags.run(prepare, execute, shared=())
