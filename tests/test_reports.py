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
        page.wait_for_selector('.queries input', timeout=30_000) # its script has run
        page.wait_for_selector('.js-plotly-plot .scatterlayer')
        assert not [o for o in asked if not o.startswith(('file:', 'data:', 'blob:'))] and not errors, (asked, errors)
        assert page.evaluate('window.pwned') is None
        assert page.locator('.js-plotly-plot').count() == 2
        rows, field = page.locator('.queries .query'), page.locator('.queries input')
        assert rows.count() == 10
        field.fill('window.pwned')
        assert 1 <= rows.count() < 10 and '<b>bold</b>' in rows.first.inner_text() and page.evaluate('window.pwned') is None
        field.fill('')
        before = rows.all_inner_texts()
        page.locator('.queries select').select_option('query, A to Z')
        assert rows.all_inner_texts() != before
        first = [o.split('\n')[0].lower() for o in rows.all_inner_texts()]
        assert first == page.evaluate('texts => [...texts].sort((a, b) => a.localeCompare(b))', first)
        page.locator('.queries button').click()
        assert rows.count() == 60
        page.locator('.queries summary').first.click()
        page.set_viewport_size(dict(width=390, height=800))
        assert page.locator('.queries').evaluate('o => o.scrollWidth <= o.clientWidth')
        plain = browser.new_context(java_script_enabled=False).new_page()
        plain.goto((tmp_path/'seen'/'page.html').as_uri())
        assert plain.locator('.queries .query').count() >= 1 and plain.locator('.queries input').count() == 0
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
    from huggingface_hub import ModelCard
    for run in runs.glob(f'results/{exp},*lr=*'):
        card, m = (run/'final'/'README.md').read_text(), manifest(run)
        scores = json.loads((run/'eval'/'gold_metrics.json').read_text())
        own = scores['systems']['tuned']['ndcg@10']
        assert f"| tuned | {own['mean']:.3f} [" in card and f"| lr | `{m['inputs']['parameters']['lr']}` |" in card
        assert all(v['sha256'].removeprefix('sha256:') in card for v in m['inputs']['data'].values()) and 'base on these queries: nDCG@10' in card
        assert f"Searched among {m['documents']:,} documents" in card and 'Gold was looked at 1 time' in card
        assert not [o for o in ('window.pwned', 'planet', str(runs), '_id"', 'BibTeX') if o in card]
        read = ModelCard.load(run/'final'/'README.md')
        assert read.data.license is None and {o.metric_type: o.metric_value for o in read.data.eval_results}['ndcg@10'] == round(own['mean'], 4)

def test_what_the_card_tells_to_type_runs(runs, monkeypatch, capsys):
    run = next(runs.glob(f'results/{exp},*lr=0.3'))
    monkeypatch.chdir(runs)
    exec((run/'final'/'README.md').read_text().split('```python\n')[1].split('```')[0], {})
    assert 'tensor([[' in capsys.readouterr().out

def test_a_card_tells_of_prompts_and_hides_where_a_base_lies(tmp_path):
    from embed_lab.models.base import tiny_model
    from embed_lab.runs.card import write_card
    from embed_lab.runs.manifest import mock_manifest
    model = tiny_model(['query passage a b'])
    model.prompts |= dict(query='query: ', document='passage: ')
    model.save_pretrained(str(tmp_path/'exp: 1'/'final'), create_model_card=False)
    run = mock_manifest(experiment='exp', status='running')
    run['inputs']['parameters'] = dict(model='/secret/place/my-base')
    write_card(tmp_path/'exp: 1', run)
    card = (tmp_path/'exp: 1'/'final'/'README.md').read_text()
    assert '`"query: "` before every query and `"passage: "` before every passage' in card and '/secret' not in card and '`my-base`' in card
    assert 'base_model' not in card and '# exp: 1\n' in card
    write_card(tmp_path/'exp: 1', run | dict(stages=dict(prompts=dict(query='', passage='', source='given'))))
    assert 'Prompts are not saved in it' in (tmp_path/'exp: 1'/'final'/'README.md').read_text()
