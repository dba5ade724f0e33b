#!/usr/bin/env python3
"""Holds the includes of lib/ to the direction of its wings. Argument: lib."""
import pathlib
import re
import sys

MAY_INCLUDE = {
    'base': set(),
    'os': {'base'},
    'wire': {'base'},
    'handoff': {'base'},
    'v1': {'base', 'os', 'wire', 'handoff'},
    'session': {'base', 'os', 'wire', 'handoff'},
    'door': {'base', 'os', 'wire', 'handoff', 'v1', 'session'},
}


def complaints(lib):
    """Each include that points the wrong way, and each that does not say its wing."""
    for path in sorted(lib.rglob('*.[ch]pp')):
        wing = path.relative_to(lib).parts[0]
        for number, line in enumerate(path.read_text().splitlines(), 1):
            include = re.match(r'#include "([^"]+)"', line)
            if include is None:
                continue
            target = include.group(1).split('/')[0]
            if wing not in MAY_INCLUDE:
                yield f'{path}: {wing} is no wing'
            elif not (lib / include.group(1)).is_file():
                yield f'{path}:{number}: {include.group(1)} is not said from lib'
            elif target != wing and target not in MAY_INCLUDE[wing]:
                yield f'{path}:{number}: {wing} must not know {target}'


def check_itself(tmp):
    """The check sees an arrow that runs up."""
    (tmp / 'base').mkdir()
    (tmp / 'os').mkdir()
    (tmp / 'os' / 'poller.hpp').write_text('')
    (tmp / 'base' / 'wrong.hpp').write_text('#include "os/poller.hpp"\n#include "poller.hpp"\n')
    assert len(list(complaints(tmp))) == 2


if __name__ == '__main__':
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        check_itself(pathlib.Path(folder))
    found = list(complaints(pathlib.Path(sys.argv[1])))
    print('\n'.join(found) or 'the includes of lib point one way')
    sys.exit(1 if found else 0)
