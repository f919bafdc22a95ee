"The board: every run of a lab on one page, whatever lies in the lab"
import json, os, re, shutil
from functools import partial
from html import escape
from html.parser import HTMLParser
from urllib.parse import unquote
import numpy as np, pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.files import write_json
from embed_lab.evaluation import board as b
from embed_lab.evaluation.board import board, origin_tree
from embed_lab.evaluation import board_page as board_page_
from embed_lab.evaluation.board_page import board_page, chart_image, failure_table, origin_list, recipe_table, write_board
from embed_lab.evaluation.comparable import mock_run
from embed_lab.evaluation.compare import compare
from embed_lab.evaluation.page import notebook_pages
from embed_lab.evaluation.verdict import _holm
from embed_lab.lab import read_lab
from embed_lab.runs.manifest import mock_manifest
from embed_lab.runs.results import result_facts

evil = 'exp_07<img src=x onerror=alert(1)>"\''
script = '</script></title><script>alert(2)</script>'

def edit(path, **facts): write_json(path/'run.json', json.loads((path/'run.json').read_text()) | facts)

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "Three recipes of three seeds, one of a single seed, and one that failed"
    home, rng = tmp_path_factory.mktemp('board')/'my_lab', np.random.default_rng(0)
    home.mkdir()
    (home/'settings.ini').write_text('[DEFAULT]\n')
    lab, base = read_lab(home), rng.random(200)*.5
    for lr,gain in ((1, -.05), (2, .0), (3, .2)):
        own = gain + rng.normal(0, .05, 200)
        for seed in (1, 2, 3): mock_run(lab, f'exp_02,lr={lr},seed={seed}', dict(tuned=(base + own + rng.normal(0, .01, 200)).clip(0, 1), base=base, bm25=base*.8), seed, lr=lr)
    mock_run(lab, 'exp_03', dict(tuned=(base + .1).clip(0, 1), base=base, bm25=base*.8))
    write_json(lab.results/'exp_04'/'run.json', mock_manifest(experiment='exp_04', status='failed', error='LabError: data/gold.jsonl is empty'))
    return lab

@pytest.fixture
def lab(made, tmp_path): return read_lab(shutil.copytree(made.path, tmp_path/'my_lab'))

# what is on it

def test_scores_and_verdicts_are_those_of_compare(lab):
    found, asked = board(lab).golds[0], compare(lab, ['exp_02*', 'exp_03'])
    assert [o.name for o in found.recipes] == ['exp_02,lr=3', 'exp_03', 'exp_02,lr=2', 'exp_02,lr=1']
    assert [o.seeds for o in found.recipes] == [3, 1, 3, 3] and found.best.over_best is None
    shown = {name: (i['ndcg@10'].mean, i['ndcg@10'].low, i['ndcg@10'].high) for mark,name,i in asked.rows if mark}
    for o in found.recipes: assert (o.score.mean, o.score.low, o.score.high) == pytest.approx(next(v for k,v in shown.items() if k == o.name))
    marks = {o.name: o.mark for o in asked.recipes}
    for o in found.recipes[1:]:
        pair = next(p for p in asked.pairs if {p.ours, p.theirs} == {marks[o.name], marks[found.best.name]})
        assert o.over_best.effect == pytest.approx(-abs(pair.verdict.effect)) and (o.over_best.word == 'loss') == (pair.verdict.word in ('win', 'loss'))
        assert o.over_best.high - o.over_best.low == pytest.approx(pair.verdict.high - pair.verdict.low) # the noise of the same recipes, lent by the same
    assert [o.over_base.word for o in found.recipes] == ['win', 'win', 'tie', 'loss']

@pytest.mark.parametrize('which', ['over_base', 'over_best'])
def test_verdicts_are_corrected_for_their_number(lab, monkeypatch, which):
    def ps(): return [v.p for o in board(lab).golds[0].recipes if (v := getattr(o, which))]
    shown = ps()
    monkeypatch.setattr(b, 'holm_corrected', list)
    assert shown == _holm(ps()) != ps()

def test_an_interval_is_the_one_that_a_run_recorded_where_that_is_of_its_scores(lab):
    drawn = board(lab).golds[0].recipes[1]
    other = dict(mean=drawn.score.mean, low=.125, high=.875)
    edit(lab.results/'exp_03', headline=dict(tuned=other, base=other, bm25=dict(other, mean=drawn.bm25.mean)))
    now = board(lab).golds[0].recipes[1]
    assert now.name == 'exp_03' and [(o.low, o.high) for o in (now.score, now.bm25)] == [(.125, .875)]*2 and now.base == drawn.base

def test_the_page_shows_the_scores_and_verdicts_of_the_board(lab):
    found = board(lab)
    page, gold = board_page(found, lab.path/'b.html'), found.golds[0]
    cells = [{k: re.sub('<[^>]+>', ' ', v).split() for k,v in re.findall('<span class="(what|score|gain|worse|n)">(.*?)</span>(?=<span class=|</summary>)', o)} for o in re.findall('<summary>.*?</summary>', page)]
    def chip(v): return [v.word, f'{v.effect:+.3f}'] if v else ['best']
    wanted = [dict(what=[o.name], score=[f'{o.score.mean:.3f}', f'{o.score.low:.3f}–{o.score.high:.3f}'], gain=chip(o.over_base), worse=chip(o.over_best), n=f"{o.seeds} seed{'s'*(o.seeds > 1)}".split()) for o in gold.recipes]
    assert cells[:len(wanted)] == wanted
    v = gold.best.over_base
    assert f'nDCG@10 {gold.best.score}, {v.effect:+.3f} [{v.low:+.3f}, {v.high:+.3f}] over its base ({v.word})' in page

def test_what_has_changed_since_a_run_completed_is_said_and_changed_scores_are_not_shown(lab):
    for o,file in (('exp_02,lr=1,seed=1', 'history.jsonl'), ('exp_03', 'eval/per_query.jsonl')):
        path = lab.results/o
        (path/'history.jsonl').write_text('{}\n')
        edit(path, **result_facts(path))
        (path/file).write_text((path/file).read_text() + '\n')
    found = board(lab)
    said = {o.name: o.trouble for o in found.runs if o.changed}
    assert said == {'exp_02,lr=1,seed=1': 'history.jsonl has changed since it completed', 'exp_03': 'eval/per_query.jsonl has changed since it completed'}
    assert [o.name for o in found.rest] == ['exp_03', 'exp_04'] and all(o in board_page(found, lab.path/'b.html') for o in said.values())

def test_a_seed_that_ran_twice_counts_once(lab):
    first = lab.results/'exp_02,lr=1,seed=1'
    edit(shutil.copytree(first, lab.results/'exp_02,lr=1,seed=1,again'), start='2030-01-01T00:00:00+00:00')
    one = next(o for o in board(lab).golds[0].recipes if o.name == 'exp_02,lr=1')
    assert (one.seeds, len(one.runs)) == (3, 4)

def test_a_run_that_failed_says_why_and_joins_its_recipe(lab):
    edit(lab.results/'exp_02,lr=1,seed=3', status='killed', error='out of memory')
    found = board(lab)
    one = next(o for o in found.golds[0].recipes if o.name == 'exp_02,lr=1')
    assert one.status == '2 completed, 1 killed' and one.seeds == 2 and [o.trouble for o in one.runs] == ['', '', 'out of memory']
    assert [(o.name, o.runs[0].trouble) for o in found.rest] == [('exp_04', 'data/gold.jsonl is empty')]
    assert 'out of memory' in board_page(found, lab.path/'b.html') and 'data/gold.jsonl is empty' in failure_table(found)

def test_runs_of_other_gold_are_in_another_list(lab):
    path = lab.results/'exp_03'
    m = json.loads((path/'run.json').read_text())
    m['inputs']['data']['gold.jsonl']['sha256'] = 'sha256:another'
    write_json(path/'run.json', m | dict(start='2020-01-01T00:00:00+00:00'))
    found = board(lab)
    assert [[r.name for r in o.recipes] for o in found.golds][1] == ['exp_03'] and found.golds[1].looks != found.golds[0].looks
    assert 'Judged by other gold' in board_page(found, lab.path/'b.html')

def test_an_untuned_model_has_no_verdict_over_itself(lab):
    rng = np.random.default_rng(1)
    for k in ('exp_09', 'exp_10'): mock_run(lab, k, dict(base=rng.random(200), bm25=rng.random(200)))
    found = board(lab).golds[0]
    ones = [o for o in found.recipes if o.fixed]
    assert len(ones) == 2 and all(o.over_base is None and o.seeds == 0 for o in ones) and 'untuned' in board_page(board(lab), lab.path/'b.html')

# read once

def test_scores_are_read_once_and_again_when_they_change(lab, monkeypatch):
    first, read = board(lab), []
    monkeypatch.setattr(b, 'read_scores', lambda path, own=b.read_scores: read.append(path.parent.parent.name) or own(path))
    assert json.dumps(board(lab).to_dict() | dict(made=0)) == json.dumps(first.to_dict() | dict(made=0)) and not read
    file = lab.results/'exp_03'/'eval'/'per_query.jsonl'
    file.write_text(file.read_text().replace('"ndcg@10":0.', '"ndcg@10":0.0'))
    assert board(lab).golds[0].recipes[-1].name == 'exp_03' and read == ['exp_03']

@pytest.mark.parametrize('spoil', (lambda o: b'', lambda o: o[:-9], lambda o: b'\xff'*100, lambda o: bytes(reversed(o)), lambda o: o[:-2] + bytes([o[-2] ^ 1]) + o[-1:])) # the last has other scores
def test_a_spoilt_cache_is_read_anew(lab, spoil):
    first, file = board(lab).to_dict(), lab.results/'cache'/'board.msgpack'
    file.write_bytes(spoil(file.read_bytes()))
    assert json.dumps(board(lab).to_dict() | dict(made=0)) == json.dumps(first | dict(made=0))

def test_a_strangers_cache_gives_no_scores_that_cannot_be(lab):
    "A cache whose hashes fit, with scores that are not numbers between 0 and 1"
    import msgspec
    board(lab)
    file = lab.results/'cache'/'board.msgpack'
    kept = msgspec.msgpack.decode(file.read_bytes(), type=b._KeptScores)
    for bad in (np.full(200, np.nan), np.full(200, 7.), np.zeros(1)):
        key = b._digest(bad.tobytes())
        runs = {k: msgspec.structs.replace(o, systems=dict(o.systems, tuned=key)) for k,o in kept.runs.items()}
        file.write_bytes(msgspec.msgpack.encode(b._KeptScores(runs, kept.blobs | {key: bad.tobytes()})))
        assert board(lab).golds[0].best.name == 'exp_02,lr=3'

# whatever lies there

class Elements(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found, self.links = [], []
        self.feed(page)
    def handle_starttag(self, name, attrs):
        self.found.append(name)
        self.links += [v for k,v in attrs if k == 'href']
        assert not [k for k,_ in attrs if k.startswith('on')]

def test_nothing_that_people_typed_is_markup(lab):
    path = lab.results/evil
    m = mock_manifest(experiment=evil, status='failed', error=script, lineage=f'{evil}3', warnings=[script], overrides={script: script})
    m['inputs']['parameters'] = {evil: script, 'model': f'results/{evil}/final', script: 'results/exp_03/final'}
    write_json(path/'run.json', m)
    write_json(path/'notes.json', dict(note=script, tags=[evil]))
    write_json(lab.results/'aside'/evil/'run.json', m)
    (lab.results/f'{evil}2').mkdir()
    (lab.results/f'{evil}2'/'run.json').write_text('{')
    write_json(mock_run(lab, f'{evil},lr=1', dict(tuned=np.full(200, .9), base=np.full(200, .1)))/'notes.json', dict(note=script, tags=[evil, '<img/src=x/onerror=alert(3)>']))
    (lab.path/'compared.html').write_text(f'<meta name="emb-compared" content="{escape(script)}">')
    found = board(lab)
    assert [*found.unreadable] == [f'{evil}2'] and found.others['aside'] and found.golds[0].best.name == evil and found.rest[-1].name.startswith(evil) # all of it is on the page
    page = Elements(board_page(found, lab.results/'board.html'))
    assert page.found.count('script') == 1 and 'img' not in page.found and page.found.count('title') == 1 + 2*len(found.golds[0].recipes)
    assert all(re.match(r'#|[\w%.,=/-]+$', o) for o in page.links)
    tables = Elements(recipe_table(found.recipes) + failure_table(found) + origin_list(found) + chart_image(found.golds[0]))
    assert 'script' not in tables.found and tables.found.count('img') == 1 # the chart

def test_odd_folders_and_files_are_named_or_passed_over(lab):
    (lab.results/'exp_03'/'eval'/'per_query.jsonl').write_bytes(b'\xff\xfe')
    (lab.results/'exp_02,lr=1,seed=1'/'eval'/'gold_metrics.json').unlink()
    (lab.results/'exp_02,lr=1,seed=2'/'plots').write_text('a file')
    (lab.results/'torn').mkdir()
    (lab.results/'torn'/'run.json').write_text('[')
    (lab.path/'broken.html').symlink_to('nowhere')
    (lab.path/'folder.html').mkdir()
    edit(lab.results/'exp_02,lr=3,seed=1', headline=dict(tuned=dict(mean='x'), base=3, bm25=dict(mean=float(7), low=1e999, high=0)))
    found = board(lab)
    assert [*found.unreadable] == ['torn'] and {o.name: bool(o.why) for o in found.runs if o.why} == {'exp_03': True, 'exp_02,lr=1,seed=1': True}
    assert 'not the scores of queries' in board_page(found, lab.path/'b.html')

def test_an_empty_lab_has_a_board(tmp_path):
    (tmp_path/'settings.ini').write_text('[DEFAULT]\n')
    assert 'No runs yet' in board_page(board(read_lab(tmp_path)), tmp_path/'b.html')

def test_a_circle_of_origins_ends():
    tree = origin_tree([('a', 'b', 'x'), ('b', 'c', 'x'), ('c', 'a', 'x'), ('d', 'd', 'x')])
    assert [o.name for o in tree] == ['c', 'd'] and tree[0].more[0].more[0].name == 'a' and not tree[1].more

def test_links_lead_from_where_the_page_is(lab, tmp_path):
    for to in (lab.results/'board.html', lab.path/'b.html', tmp_path/'elsewhere'/'b.html'):
        links = Elements(board_page(board(lab), to)).links
        to.parent.mkdir(exist_ok=True)
        assert all((to.parent/unquote(o)).exists() for o in links if o[0] != '#') and len(links) >= 11

# the command

def test_the_command_writes_a_page_and_says_where(lab, monkeypatch):
    monkeypatch.chdir(lab.path)
    opened = []
    monkeypatch.setattr('webbrowser.open', lambda url: opened.append(url) or False)
    res = CliRunner().invoke(app, ['board', '--open'])
    assert res.exit_code == 0 and res.stdout == 'wrote results/board.html\n' and opened[0].endswith('/results/board.html') and 'no browser' in res.stderr
    assert '<title>Board of my_lab</title>' in (lab.results/'board.html').read_text()
    res = CliRunner().invoke(app, ['board', '--json'])
    assert json.loads(res.stdout)['golds'][0]['recipes'][0]['recipe'] == 'exp_02,lr=3'
    res = CliRunner().invoke(app, ['board', 'x.pdf'])
    assert res.exit_code == 2 and res.stderr == 'emb: x.pdf: neither a page nor a notebook; choose a name that ends in .html or .ipynb\n'

def test_the_notebook_runs_on_a_lab(lab, monkeypatch):
    "Its cells, in this process"
    from embed_lab.notebooks import shipped_notebooks
    monkeypatch.chdir(lab.path)
    cells = json.loads((shipped_notebooks('reports')/'board.ipynb').read_text())['cells']
    names = {}
    for o in cells:
        if o['cell_type'] == 'code': exec(''.join(o['source']), names)
    assert len(names['found'].runs) == 11

def test_the_page_sorts_filters_and_picks(lab, tmp_path):
    chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if chromium is None: pytest.skip('needs Chromium or Chrome on the path')
    from playwright.sync_api import sync_playwright
    (to := tmp_path/'board.html').write_text(board_page(board(lab), to))
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        page = browser.new_page(viewport=dict(width=390, height=800))
        wrong = []
        page.on('pageerror', lambda o: wrong.append(o))
        page.goto(to.as_uri())
        def names(): return page.eval_on_selector_all('.r', "os => os.filter(o => !o.hidden).map(o => o.querySelector('.what').textContent.trim().split(' ')[0])")
        first = names()
        page.select_option('#order', 'name')
        assert names()[:4] == sorted(first[:4]) != first[:4]
        page.fill('#find', 'GOLD.jsonl is empty')
        assert names() == ['exp_04']
        page.fill('#find', '')
        page.select_option('#verdict', 'win')
        assert names() == ['exp_02,lr=3', 'exp_03']
        for o in page.locator('.r:not([hidden]) .pick').all(): o.check()
        assert page.inner_text('#command') == 'emb compare exp_02,lr=3,seed=1 exp_02,lr=3,seed=2 exp_02,lr=3,seed=3 exp_03 --report compare.html'
        assert page.evaluate('document.documentElement.scrollWidth') == 390 and not wrong
        page.reload()
        page.eval_on_selector_all('.gain .chip, .worse .chip', "os => os.forEach(o => o.innerHTML = '<b>unmeasured</b> -0.003')") # the longest
        for n in (390, 1280):
            page.set_viewport_size(dict(width=n, height=800))
            assert page.eval_on_selector_all('.gain .chip, .worse .chip', 'os => os.every(o => o.offsetWidth <= o.parentElement.clientWidth)'), n
        browser.close()

# pages of notebooks

def executed(path, *outputs, prose='# In-batch'):
    "Leave an executed notebook in a run"
    cells = [dict(cell_type='markdown', metadata={}, source=prose), dict(cell_type='code', metadata={}, execution_count=1, source='score # <b>', outputs=[*outputs])]
    nb = path/f"{json.loads((path/'run.json').read_text())['experiment']}.ipynb"
    nb.write_text(json.dumps(dict(nbformat=4, nbformat_minor=5, metadata={}, cells=cells)))
    return nb

def shown(**data): return dict(output_type='display_data', metadata={}, data=data)

def linked_page(lab):
    "The page that the board's link to a notebook leads to"
    page = write_board(lab)
    link, = re.findall('<a href="([^"]*)">notebook</a>', page.read_text())
    return (page.parent/unquote(link)).resolve()

def test_a_notebook_on_the_board_is_a_page_of_its_own_outside_of_the_run(lab):
    path = lab.results/'exp_03'
    nb, before = executed(path), {o: o.read_bytes() for o in path.rglob('*') if o.is_file()}
    page = linked_page(lab)
    assert page.is_relative_to(lab.results/'cache') and '<h1>In-batch</h1>' in page.read_text() and '&lt;b&gt;' in page.read_text()
    assert {o: o.read_bytes() for o in path.rglob('*') if o.is_file()} == before
    page.write_text('kept')
    os.utime(page, ns=(nb.stat().st_mtime_ns,)*2)
    assert linked_page(lab).read_text() == 'kept' # it is not drawn each time
    executed(path, prose='# Another')
    os.utime(nb, ns=(1, 1))
    assert '<h1>Another</h1>' in linked_page(lab).read_text()
    shutil.move(path, lab.results/'exp_05')
    now = linked_page(lab)
    assert now != page and now.is_file() and not page.exists()

def test_without_time_the_board_links_to_the_file(lab, monkeypatch):
    nb = executed(lab.results/'exp_03')
    monkeypatch.setattr(board_page_, 'notebook_pages', partial(notebook_pages, seconds=-1))
    assert re.findall('<a href="([^"]*)">notebook file</a>', write_board(lab).read_text()) == [f'exp_03/{nb.name}']

@pytest.mark.parametrize('output', [shown(**{'text/html': evil + script}), shown(**{'text/html': ['<p>', '<a href="java\nscript:alert(1)">x</a>']}), shown(**{'text/markdown': evil + '[x](javascript:alert(1))'}),
    shown(**{'image/png': '"><script>alert(1)</script>'}), shown(**{'image/svg+xml': script}), shown(**{'text/plain': script}), dict(output_type='stream', name='stderr', text=script),
    dict(output_type='error', ename='E', evalue=script, traceback=[script]), shown(**{'application/vnd.plotly.v1+json': dict(data=[dict(name=script)], layout=dict(title=dict(text=evil), height=evil))}),
    shown(**{'text/html': '<table><tr><td></div></main><svg><style><img src=x onerror=alert(1)>'}), shown(**{'text/html': None}), shown(**{'application/vnd.plotly.v1+json': dict(layout=[])}), dict(output_type='execute_result', data=7), None])
def test_outputs_do_nothing_on_the_page(lab, output):
    executed(lab.results/'exp_03', output, prose=evil + script + '\n\n<form action=x>')
    text = linked_page(lab).read_text()
    class Tags(HTMLParser):
        def __init__(self): super().__init__(); self.found, self.depth = [], 0
        def handle_starttag(self, name, attrs): self.found.append((name, dict(attrs)))
    tags = Tags()
    tags.feed(text)
    assert not [o for o in tags.found if any(k.startswith('on') for k in o[1]) or 'script:' in str(o[1].get('href'))]
    assert [o[0] for o in tags.found if o[0] in ('svg', 'form', 'iframe', 'style')] == ['style']
    assert [o[1] for o in tags.found if o[0] == 'script' and o[1].get('type') != 'application/json'] == [{}] and text.count('</main>') == 1
    assert all(o[1]['src'].startswith('data:image/') for o in tags.found if o[0] == 'img' and 'src' in o[1])
    assert "'unsafe-inline'" not in re.search('script-src[^"]*', text)[0]

def test_what_cannot_be_read_as_a_notebook_is_linked_as_a_file(lab):
    executed(lab.results/'exp_03').write_text('{"cells": 7')
    assert 'notebook file' in write_board(lab).read_text()
