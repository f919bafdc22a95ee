"A real JupyterLab in headless Chromium runs a lab's baseline cell by cell and draws its charts"
import json, os, shutil, socket, subprocess, time, urllib.request
import pytest
from support import bin, emb, too_fast

chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
if chromium is None and not os.environ.get('CI'): pytest.skip('needs Chromium or Chrome on the path', allow_module_level=True)

flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

@pytest.fixture
def jupyter(lab, tmp_path):
    "The address of a JupyterLab in the lab, which does not open the tabs that another left open"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    cmd = [bin/'jupyter', 'lab', '--no-browser', '--allow-root', f'--port={port}', '--ServerApp.token=', '--ServerApp.password=', '--ip=127.0.0.1']
    env = os.environ | {o: str(tmp_path/'jupyterlab') for o in ('JUPYTERLAB_WORKSPACES_DIR', 'JUPYTERLAB_SETTINGS_DIR')}
    p = subprocess.Popen(cmd, cwd=lab, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f'http://127.0.0.1:{port}'
    try:
        for _ in range(300):
            try: urllib.request.urlopen(f'{url}/api/status'); break
            except OSError: time.sleep(.2)
        yield url
    finally:
        p.terminate()
        p.wait(30)

@pytest.fixture
def page():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport=dict(width=1300, height=12000))  # high enough that the notebook draws every cell
        page.console_errors = []
        page.on('console', lambda m: m.type == 'error' and page.console_errors.append(m.text))
        yield page
        browser.close()

def test_the_baseline_runs_in_jupyterlab_and_its_charts_are_drawn(lab, jupyter, page, tmp_path):
    page.goto(f'{jupyter}/lab/tree/experiments/exp_01_baseline.ipynb')
    page.locator('.jp-Notebook .jp-CodeCell').first.wait_for(timeout=60_000)
    page.get_by_text('Python 3 (ipykernel) | Idle').wait_for(timeout=120_000)
    page.get_by_text('Run', exact=True).first.click()
    page.get_by_text('Run All Cells', exact=True).click()
    page.wait_for_timeout(3000)
    if (ask := page.locator('.jp-Dialog .jp-mod-accept')).count(): ask.click()  # on a slow machine Run comes before the kernel and asks for one
    page.get_by_text('completed', exact=True).wait_for(timeout=300_000)
    charts = page.locator('.jp-OutputArea .js-plotly-plot')
    charts.nth(2).locator('.trace path').first.wait_for(timeout=60_000, state='attached')
    page.screenshot(path=tmp_path/'jupyterlab.png')
    assert charts.count() == 3
    for i in range(3): assert any(o['width']*o['height'] > 0 for o in map(lambda o: o.bounding_box(), charts.nth(i).locator('.trace path').all())), f'chart {i} is empty'
    wrong = page.locator('[data-mime-type="application/vnd.jupyter.error"], [data-mime-type="application/vnd.jupyter.stderr"]').filter(has_not_text=too_fast)
    assert wrong.all_text_contents() == []
    assert page.get_by_text('results/scratch/exp_01_baseline').count() >= 1
    ask = page.locator('.jp-OutputArea input[type=text]')
    ask.fill('read a file line by line')
    ask.press('Enter')
    page.locator('.jp-OutputArea b', has_text='read a file line by line').wait_for(timeout=120_000)
    page.screenshot(path=tmp_path/'asked.png')
    answer = page.locator('.jp-OutputArea').last.inner_text()
    assert 'BM25' in answer and 'base' in answer, answer
    assert (lab/'results'/'scratch'/'exp_01_baseline'/'run.json').exists() and not (lab/'results'/'exp_01_baseline'/'run.json').exists()

def test_a_suspect_is_decided_with_a_click(lab, jupyter, page, tmp_path):
    emb('new', 'exp_03_mined', '--recipe', 'hard-negatives', cwd=lab)
    nb = lab/'experiments'/'exp_03_mined.ipynb'
    cells = json.loads(nb.read_text())
    at = next(i for i,o in enumerate(cells['cells']) if ''.join(o['source']) == 'audit')
    cells['cells'] = cells['cells'][:at] + [cells['cells'][at] | dict(source=['audit.review(size=3)'])]
    nb.write_text(json.dumps(cells).replace("relative_margin: 'Optional[float]' = 0.95", "relative_margin: 'Optional[float]' = None"))
    page.goto(f'{jupyter}/lab/tree/experiments/{nb.name}')
    page.locator('.jp-Notebook .jp-CodeCell').first.wait_for(timeout=60_000)
    page.get_by_text('Python 3 (ipykernel) | Idle').wait_for(timeout=120_000)
    page.get_by_text('Run', exact=True).first.click()
    page.get_by_text('Run All Cells', exact=True).click()
    page.wait_for_timeout(3000)
    if (ask := page.locator('.jp-Dialog .jp-mod-accept')).count(): ask.click()
    page.get_by_role('button', name='drop').first.wait_for(timeout=120_000)
    page.screenshot(path=tmp_path/'review.png')
    assert page.get_by_role('button', name='drop').count() == 3
    page.get_by_role('button', name='drop').nth(1).click()
    page.locator('button.mod-primary', has_text='drop').wait_for(timeout=30_000)
    page.get_by_role('button', name='keep').nth(1).click()
    page.locator('button.mod-primary', has_text='keep').wait_for(timeout=30_000)
    lines = [json.loads(o) for o in (lab/'data'/'decisions.jsonl').open()]
    assert [o['decision'] for o in lines] == ['drop', 'keep'] and lines[0]['query'] == lines[1]['query']

def test_a_runs_charts_open_offline(lab, page):
    emb('run', 'exp_02_in_batch', cwd=lab)
    page.context.set_offline(True)
    for o in ('loss', 'lr', 'gold_metrics'):
        page.goto(f"file://{lab/'results'/'exp_02_in_batch'/'plots'/o}.html")
        page.locator('.js-plotly-plot .trace').first.wait_for(timeout=30_000)
    assert page.console_errors == []

evil = ['from $5 to $9 a month', r'\(x^2\) \[y\]', '$$z$$', '`code` _under_ <b>bold</b>', r'\begin{equation}w\end{equation}']

def test_texts_are_texts_and_a_notebook_by_mail_is_readable(jupyter, lab, page):
    "Neither is this notebook trusted, nor does MathJax touch a text in it; what asks for a formula gets one"
    import nbformat.v4 as nf
    from embed_lab.evaluation.ask import Found
    from embed_lab.evaluation.browse import Move
    from embed_lab.evaluation.figures import query_browser
    from embed_lab.style import html_table, tag, text_html
    def moved(o, after): return Move(o, [o], .5, after, (None, 1), ([dict(id=o, grade=1, text=o)],)*2, set(), set())
    shown = [html_table([[evil[0]], *([o] for o in evil)]), *(tag('p', o) for o in evil), *map(text_html, evil),
        Found(evil[0], dict(tuned=[('d', .5)]), dict(d=evil[1]))._repr_html_(), query_browser([moved(o, i/2) for i,o in enumerate(evil[:3])]).data]
    outputs = [nf.new_output('display_data', {'text/html': o}) for o in (*shown, '<p>$a^2$</p>')]
    nb = nf.new_notebook(cells=[nf.new_code_cell('1', outputs=outputs)])
    (lab/'mailed.ipynb').write_text(json.dumps(nb))
    page.goto(f'{jupyter}/lab/tree/mailed.ipynb?reset')
    page.wait_for_selector('mjx-container', timeout=60_000)
    page.wait_for_timeout(1000)
    assert page.locator('mjx-container').count() == 1 # the last output's, so the others have had their turn
    text = page.locator('.jp-OutputArea').first.inner_text()
    assert all(text.count(o) >= 3 for o in evil[:4]) and page.locator('.jp-OutputArea script').count() == 0
    assert page.locator('.query').count() == 2 and page.locator('.query summary').count() == 2
