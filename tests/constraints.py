"Print the pins of this environment: python tests/constraints.py > constraints.txt"
from importlib.metadata import distributions

ours = {'embed-lab', 'pip', 'wheel'}
pins = {d.name.lower(): f"{d.name}=={d.version.split('+')[0]}" for d in distributions() if d.name.lower() not in ours}
print('# The whole tree of embed-lab[lab,offline,dev], exactly. torch is pinned so that a CPU build that is at hand is taken.')
print(*(pins[o] for o in sorted(pins)), sep='\n')
