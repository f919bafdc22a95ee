"The lessons are tests: every example in the notebooks runs and holds"
from support import bin, root, sh

def test_lessons(): sh(bin/'nbdev-test', cwd=root, EMB_HARDWARE='')
