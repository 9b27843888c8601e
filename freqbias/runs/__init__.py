"""Run directories: one folder per run, safe to interrupt, to resume and to compare byte by byte.

    config.json          every flag, versions, device, data checksums, command, start time
    settings/<id>.csv    the rows of one finished setting; there only when it is finished
    columns.json         the columns of the rows and their kinds, fixed by the first rows
    rows.csv             all settings, in the order of their ids
    <name>.npz           arrays; with --save_params, parameters by their paths

Every file is written beside its place and renamed into it, so it is whole or absent. The hidden
file `.freqbias-run` lists what the run wrote, with length and SHA-256: nothing else is ever removed
or written over, and a file that was damaged or edited since is refused when it is read, and
computed again when the run is resumed. Rows hold no times and no machine, so the same command gives
the same `rows.csv`, whatever the order in which settings finish. One process writes to a folder at
a time, which holds a lock that ends with it; shards are runs of their own.
"""

from freqbias.runs.files import WriteError as WriteError
from freqbias.runs.files import read_file as read_file
from freqbias.runs.files import write_file as write_file
from freqbias.runs.folder import close_run as close_run
from freqbias.runs.folder import open_run as open_run
from freqbias.runs.folder import read_config as read_config
from freqbias.runs.folder import this_device as this_device
from freqbias.runs.folder import versions as versions
from freqbias.runs.merge import merge as merge
from freqbias.runs.outputs import load_arrays as load_arrays
from freqbias.runs.outputs import load_json as load_json
from freqbias.runs.outputs import load_params as load_params
from freqbias.runs.outputs import save_arrays as save_arrays
from freqbias.runs.outputs import save_json as save_json
from freqbias.runs.outputs import save_params as save_params
from freqbias.runs.rows import append_rows as append_rows
from freqbias.runs.rows import finished as finished
from freqbias.runs.rows import read_rows as read_rows
from freqbias.runs.rows import write_rows as write_rows

__all__ = [
    "WriteError",
    "append_rows",
    "close_run",
    "finished",
    "load_arrays",
    "load_json",
    "load_params",
    "merge",
    "open_run",
    "read_config",
    "read_file",
    "read_rows",
    "save_arrays",
    "save_json",
    "save_params",
    "this_device",
    "versions",
    "write_file",
    "write_rows",
]
