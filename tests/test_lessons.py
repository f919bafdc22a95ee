"The lessons are tests: every example in the notebooks runs and holds"
from pathlib import Path
import pytest
from nbdev.doclinks import nbglob
from support import forked, root

def lessons():
    "What `nbdev-test` goes through: notebooks outside of folders that hold a file .notest"
    found = [Path(o).resolve() for o in nbglob(root/'nbs')]
    return sorted(o.relative_to(root/'nbs').as_posix() for o in found if not (o.parent/'.notest').exists())

@pytest.mark.parametrize('lesson', lessons())
def test_lesson(lesson):
    "In a process of its own, forked from one that has the imports done"
    assert 'Success.' in forked('nbdev-test', root/'nbs'/lesson, cwd=root, EMB_HARDWARE='').stdout
