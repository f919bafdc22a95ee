"A comparison as a notebook and as one page that needs no network and runs nothing of the data; a card that says what the model is"
import json, os, shutil
import pytest
from support import emb, exp, made_lab, manifest, papermill

chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
flags = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
evil = '</script><script>window.pwned=1</script><img src=x onerror="window.pwned=1"><b>bold</b> | %{y}'

@pytest.fixture(scope='module')
def runs(tmp_path_factory, data, base):
    "A lab with two recipes, and a query and a passage in gold that attack"
    lab = made_lab(tmp_path_factory.mktemp('report')/'lab', data, base)
    gold = lab/'data'/'gold.jsonl'
    rows = [json.loads(o) for o in gold.read_text().splitlines()]
    for k in ('query', 'passage'): rows[0][k] = f'{evil} {rows[0][k]}'
    gold.write_text(''.join(json.dumps(o) + '\n' for o in rows))
    with (lab/'data'/'corpus.jsonl').open('a') as f: f.write(json.dumps(dict(_id='evil', text=rows[0]['passage'])) + '\n')
    for lr in (.1, .3): emb('run', exp, '-p', 'lr', lr, '-p', 'allow_leaks', 'true', cwd=lab)
    return lab

def test_the_page_works_without_a_network(runs, tmp_path):
    if chromium is None and not os.environ.get('CI'): pytest.skip('needs Chromium or Chrome on the path')
    out = emb('compare', '*lr=0.3', '*lr=0.1', '--report', tmp_path/'seen'/'page.html', cwd=runs).stdout
    assert 'page.html' in out and (tmp_path/'seen'/'page.ipynb').exists()
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport=dict(width=1200, height=900))
        asked, errors = [], []
        page.on('request', lambda r: asked.append(r.url))
        page.on('pageerror', lambda e: errors.append(str(e)))
        page.goto((tmp_path/'seen'/'page.html').as_uri())
        page.wait_for_selector('table.queries tbody ol li', timeout=30_000)
        page.wait_for_selector('.js-plotly-plot .scatterlayer')
        assert not [o for o in asked if not o.startswith(('file:', 'data:', 'blob:'))] and not errors, (asked, errors)
        assert page.evaluate('window.pwned') is None
        assert page.locator('.js-plotly-plot').count() == 2
        rows = page.locator('table.queries tbody tr')
        assert rows.count() == 10
        page.locator('.dt-search input').fill('window.pwned')
        page.wait_for_timeout(300)
        assert rows.count() >= 1 and '<b>bold</b>' in rows.first.inner_text()
        page.locator('.dt-search input').fill('')
        before, head = rows.all_inner_texts(), page.locator('table.queries thead th', has_text='query').first
        head.locator('.dt-column-title').click()
        page.wait_for_timeout(300)
        assert head.get_attribute('aria-sort') == 'ascending' and rows.all_inner_texts() != before
        first = [o.lower() for o in page.locator('table.queries tbody tr td:nth-child(1)').all_inner_texts()]
        assert first == sorted(first)
        browser.close()

def test_what_cannot_be_compared_leaves_no_report(runs, tmp_path):
    assert 'did you mean' in emb('compare', f'{exp},allow_leaks=True,lr=0.2', '--report', tmp_path/'page.html', cwd=runs, ok=2).stderr
    assert not list(tmp_path.iterdir())

def test_the_notebook_is_at_home_in_a_lab(runs, tmp_path):
    "It is copied into the lab and run there by plain papermill"
    from embed_lab.labs.recipes import shipped_notebooks
    shutil.copy(shipped_notebooks('reports')/'compare.ipynb', runs/'look.ipynb')
    papermill('look.ipynb', tmp_path/'out.ipynb', '-y', "runs: ['*lr=0.3']", cwd=runs)
    said = (tmp_path/'out.ipynb').read_text()
    assert 'application/vnd.plotly.v1+json' in said and 'base, untuned' in said

def test_the_card_says_what_the_model_is(runs):
    for run in runs.glob(f'results/{exp},*lr=*'):
        card, m = (run/'final'/'README.md').read_text(), manifest(run)
        scores = json.loads((run/'eval'/'gold_metrics.json').read_text())
        assert card.startswith('---\n') and card.count('## How it was made, and how good it is') == 1
        assert f"{scores['systems']['tuned']['ndcg@10']['mean']:.3f} [" in card and f"| lr | `{m['inputs']['parameters']['lr']}` |" in card
        assert all(v['sha256'].removeprefix('sha256:') in card for v in m['inputs']['data'].values()) and 'base on these queries: nDCG@10' in card
        assert 'window.pwned' not in card and f"queries against {m['documents']:,} documents" in card
        assert card.index('## How it was made') < card.index('## Model Details')
        from sentence_transformers import SentenceTransformer
        SentenceTransformer(str(run/'final'), device='cpu', local_files_only=True)
