"""How the house stands, read and not run: order of imports, names behind the door, width of lines, words to read

    python bench/structure.py [CHECKOUT] [CHECKOUT] [--json] [--names]

One checkout gives one column, two give before and after. Nothing of the package is imported, so any checkout will do, the flat
layout from before the rooms included."""
import ast, json, re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from arguments import parser

rooms = '', 'data', 'models', 'runs', 'training', 'evaluation', 'delivery', 'labs', 'cli' # in the order of the stream; '' is the root
flat = dict(data='rows task sample texts leaks check report split metrics',               # where modules of the flat layout belong
    models='models families chunks inference vectors crossencoders search index corpus',
    runs='manifest results looks card runs warm engine execute sweep study cluster',
    training='contract examples batches mining audit checkpoints breakdown devices estimate',
    evaluation='scores slices verdict comparable compare reports browse figures reproduce',
    labs='recipes scaffold choose', cli='terminal cli')
words_a_minute, lines_a_minute = 220, 25
goals = {'imports against the numbers': 0, 'the same by a name in a string': 0, 'imports against the rooms': 0, 'modules that name the inventory': 0,
    'circles': 0, 'toolkit names that 02_train imports': 15, 'toolkit names that the base five import': 35, 'toolkit names that the inventory imports': 45,
    'exported lines of 02_train': 130, 'minutes to read the base five': 38,
    'exported lines over 140 characters': 0, 'public names with two meanings': 0}

@dataclass(frozen=True)
class Cell:
    "A cell of a notebook"
    kind:str   # 'code' or 'markdown'
    source:str
    @property
    def exported(self)->bool: return self.kind == 'code' and bool(re.search(r'^#\s*\|\s*export[is]?\b', self.source, re.M))

@dataclass(frozen=True)
class Import:
    "One module that asks another for something"
    user:str      # Dotted, below the package: `runs.sweep`
    used:str      # likewise
    name:str      # What is asked for; empty where the module itself is
    line:int      # Of the user's file
    string:bool   # Whether the name stands in a string

def cells(notebook:Path)->list: # Of `Cell`s
    got = json.loads(notebook.read_text(encoding='utf-8'))['cells']
    return [Cell(o['cell_type'], ''.join(o['source'])) for o in got]

def docstrings(tree:ast.AST)->set: # Ids of the nodes that hold one
    owners = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    first = [o.body[0] for o in ast.walk(tree) if isinstance(o, owners) and o.body]
    return {id(o.value) for o in first if isinstance(o, ast.Expr)}

def asked(source:str, home:str='')->list: # Of (dotted name below the package, name asked for, line, in a string)
    "Everything that a source asks the package for; `home` is its own module, for relative imports"
    tree, res = ast.parse(source), []
    skip = docstrings(tree)
    for o in ast.walk(tree):
        if isinstance(o, ast.Import):
            res += [(a.name.removeprefix('embed_lab').strip('.'), '', o.lineno, False) for a in o.names if a.name.split('.')[0] == 'embed_lab']
        elif isinstance(o, ast.ImportFrom):
            here = home.split('.')
            base = here[:len(here)-o.level] if o.level else []
            parts = base + (o.module or '').split('.') if o.module else base
            if not o.level and parts[0] != 'embed_lab': continue
            parts = parts if o.level else parts[1:]
            res += [('.'.join(parts), a.name, o.lineno, False) for a in o.names]
        elif isinstance(o, ast.Constant) and isinstance(o.value, str) and id(o) not in skip:
            res += [(m, '', o.lineno, True) for m in re.findall(r'\bembed_lab\.([a-z_]\w*(?:\.\w+)*)', o.value)]
    return res

class House:
    "A checkout of the repository, as text"
    def __init__(self, root:Path): self.root = root.resolve()

    @cached_property
    def sources(self)->dict: # Dotted name below the package → text; inventory left out
        home = self.root/'embed_lab'
        files = [o for o in sorted(home.rglob('*.py')) if not o.name.startswith('_')]
        return {'.'.join(o.relative_to(home).with_suffix('').parts): o.read_text(encoding='utf-8') for o in files}

    @property
    def toolkit(self)->dict: return {k: v for k,v in self.sources.items() if not k.startswith('inventory.')}

    @property
    def roomy(self)->bool: return any('.' in o for o in self.toolkit)

    @cached_property
    def notebooks(self)->dict: # Module → notebook
        res = {}
        for nb in sorted((self.root/'nbs').rglob('*.ipynb')):
            found = re.search(r'^#\s*\|\s*default_exp\s+([\w.]+)', '\n'.join(c.source for c in cells(nb)), re.M)
            if found: res[found[1]] = nb
        return res

    def room(self, module:str)->str:
        if '.' in module: return module.split('.')[0]
        return '' if self.roomy else next((k for k,v in flat.items() if module in v.split()), '')

    def place(self, module:str)->tuple: # Sorts as the floor plan promises: by room and number, or by number alone where there are no rooms
        number = int(re.match(r'\d*', self.notebooks[module].name)[0] or 0)
        return (rooms.index(self.room(module)), number) if self.roomy else (number,)

    @cached_property
    def imports(self)->list: # Of `Import`s, in the toolkit
        res = []
        for user,text in self.toolkit.items():
            for dotted,name,line,string in asked(text, user):
                full = f'{dotted}.{name}'.strip('.') if name else dotted
                used = next((o for o in (full, dotted, *self.above(full)) if o in self.sources or o == 'inventory'), None)
                if used and used != user: res.append(Import(user, used, '' if used == full else name or full.removeprefix(used + '.'), line, string))
        return res

    @staticmethod
    def above(dotted:str)->list: # `a.b.c` → `a.b`, `a`
        parts = dotted.split('.')
        return ['.'.join(parts[:i]) for i in range(len(parts)-1, 0, -1)]

    def against_numbers(self)->list:
        return [o for o in self.imports if o.used.split('.')[0] != 'inventory' and self.place(o.used) > self.place(o.user)]
    def against_rooms(self)->list:
        order = rooms.index
        return [o for o in self.imports if o.used.split('.')[0] != 'inventory' and order(self.room(o.used)) > order(self.room(o.user))]
    def inventory_named(self)->list: return [o for o in self.imports if o.used.split('.')[0] == 'inventory']

    def circles(self)->list: # Of sets of modules that all need one another
        uses = defaultdict(set)
        for o in self.imports: uses[o.user].add(o.used)
        def reach(start):
            seen, todo = set(), [start]
            while todo:
                new = uses[todo.pop()] - seen
                seen |= new
                todo += new
            return seen
        far = {o: reach(o) for o in self.toolkit}
        return sorted({frozenset(p for p in far if p in far[o] and o in far[p]) for o in far if o in far[o]}, key=sorted)

    def names(self, notebooks:list, exported:bool)->set: # Of (module, name)
        "What notebooks that labs copy import from the toolkit; `exported` leaves out what only their lessons ask for"
        res = set()
        for nb in notebooks:
            for c in cells(nb):
                if c.kind != 'code' or exported and not c.exported: continue
                code = '\n'.join(o for o in c.source.splitlines() if not re.match(r'\s*[%!]', o))
                try: got = asked(code)
                except SyntaxError: continue
                res |= {(m, n or m) for m,n,_,string in got if not string and m.split('.')[0] not in ('inventory', '')}
        return res

    @property
    def inventory(self)->list: return sorted((self.root/'nbs'/'inventory').glob('*.ipynb'))
    @property
    def five(self)->list: return [o for o in self.inventory if re.match('0[0-4]_', o.name)]
    @property
    def experiments(self)->list: return sorted((self.root/'nbs'/'experiments').glob('*.ipynb'))

    def reading(self)->tuple: # (words of prose, lines of code) in the five notebooks of every lab
        all_cells = [c for o in self.five for c in cells(o)]
        words = sum(len(c.source.split()) for c in all_cells if c.kind == 'markdown')
        code = [l for c in all_cells if c.kind == 'code' for l in c.source.splitlines() if l.strip() and not l.startswith('#|')]
        return words, len(code)

    def lines(self)->list: # Of (notebook, line), exported, toolkit and inventory
        res = []
        for nb in self.notebooks.values():
            code = [c.source for c in cells(nb) if c.exported]
            res += [(nb.relative_to(self.root).as_posix(), l) for o in code for l in o.splitlines()]
        return res

    def train_lines(self)->int: # Exported lines of 02_train, without blanks and directives
        return sum(bool(l.strip()) and not l.startswith('#|') for nb,l in self.lines() if nb.endswith('/02_train.ipynb'))

    def meanings(self)->dict: # Name → modules that define it, where they are several; the inventory counts too
        res = defaultdict(list)
        for module,text in self.sources.items():
            for name in public(text): res[name].append(module)
        return {k: v for k,v in sorted(res.items()) if len(v) > 1}

    def figures(self)->dict: # What is measured → number
        words, code = self.reading()
        widths = [len(l) for _,l in self.lines()]
        train = [o for o in self.five if o.name.startswith('02_')]
        every = self.names(self.inventory, True)
        return {
            'modules of the toolkit': len(self.toolkit),
            'imports against the numbers': len(pairs(o for o in self.against_numbers() if not o.string)),
            'the same by a name in a string': len(pairs(o for o in self.against_numbers() if o.string)),
            'imports against the rooms': len(pairs(self.against_rooms())),
            'modules that name the inventory': len({o.user for o in self.inventory_named()}),
            'circles': len(self.circles()),
            'toolkit names that 02_train imports': len(self.names(train, True)),
            'toolkit names that the base five import': len(self.names(self.five, True)),
            'toolkit names that the inventory imports': len(every),
            'the same with the experiments': len(every | self.names(self.experiments, False)),
            'exported lines of 02_train': self.train_lines(),
            'minutes to read the base five': round(words/words_a_minute + code/lines_a_minute),
            'exported lines': len(widths),
            'exported lines over 120 characters': sum(o > 120 for o in widths),
            'exported lines over 140 characters': sum(o > 140 for o in widths),
            'the widest exported line': max(widths),
            'public names with two meanings': len(self.meanings()),
        }

    def details(self)->dict: # What is listed by `--names` → lines
        def said(imports): return sorted({f'{o.user} → {o.used}' + (f'.{o.name}' if o.name else '') + (' (string)' if o.string else '') for o in imports})
        return {
            'against the numbers': said(self.against_numbers()),
            'against the rooms': said(self.against_rooms()),
            'naming the inventory': said(self.inventory_named()),
            'circles': [' ↔ '.join(sorted(o)) for o in self.circles()],
            'toolkit names of the inventory': sorted('.'.join(o) for o in self.names(self.inventory, True)),
            'two meanings': [f"{k}: {', '.join(v)}" for k,v in self.meanings().items()],
            'lines over 140': [f'{n} {nb}' for nb,n in Counter(nb for nb,l in self.lines() if len(l) > 140).most_common()],
        }

def public(text:str)->set: # Names a module defines for others
    res = set()
    for o in ast.parse(text).body:
        if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not patched(o): res.add(o.name)
        elif isinstance(o, ast.Assign): res |= {n.id for t in o.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
        elif isinstance(o, ast.AnnAssign) and isinstance(o.target, ast.Name): res.add(o.target.id)
    return {o for o in res if not o.startswith('_')}

def patched(o:ast.AST)->bool: # A method written below its class
    return any('patch' in ast.unparse(d) for d in o.decorator_list)

def pairs(imports)->set: return {(o.user, o.used) for o in imports}

def table(columns:dict)->str: # Heading → figures
    "Figures beside one another, with the goal of each"
    first = next(iter(columns.values()))
    rows = [['', *columns, 'goal']] + [[k, *(str(o[k]) for o in columns.values()), str(goals.get(k, ''))] for k in first]
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return '\n'.join('  '.join([r[0].ljust(widths[0]), *(o.rjust(w) for o,w in zip(r[1:], widths[1:]))]).rstrip() for r in rows)

def main():
    p = parser(__doc__)
    p.add_argument('checkout', nargs='*', type=Path, help='one folder, or two: before and after; this checkout when none is named')
    p.add_argument('--json', action='store_true', help='the figures as JSON')
    p.add_argument('--names', action='store_true', help='also list what was counted, of the last checkout')
    args = p.parse_intermixed_args()
    roots = args.checkout or [Path(__file__).resolve().parent.parent]
    if len(roots) > 2: p.error('one checkout, or two: before and after')
    for o in roots:
        if not (o/'embed_lab').is_dir(): p.error(f'{o}: no folder embed_lab in it; name a checkout of this repository')
    heads = ['today'] if len(roots) == 1 else ['before', 'after']
    houses = {k: House(o) for k,o in zip(heads, roots)}
    figures = {k: o.figures() for k,o in houses.items()}
    print(json.dumps(figures, indent=1) if args.json else table(figures))
    if not args.names: return
    for k,v in houses[heads[-1]].details().items(): print(f'\n{k} ({len(v)})', *v, sep='\n  ')

if __name__ == '__main__': main()
