"Charts of runs: one copy of plotly's script a lab, found from wherever a run's folder lies in it, and pages that fit"
import re, shutil
import plotly.graph_objects as go
import pytest
from embed_lab.lab import read_lab
from embed_lab.runs.manifest import mock_manifest
from embed_lab.runs.record import Run
from embed_lab.style import chart_page, keep_plotly, styled_figure

evil = '</script><script>alert(1)</script>'

@pytest.fixture
def run(tmp_path):
    home = tmp_path/'my <lab>'
    home.mkdir()
    (home/'settings.ini').write_text('[DEFAULT]\n')
    lab = read_lab(home)
    return Run(lab, lab.results/'exp_02,seed=1', mock_manifest(), None)

def figure(): return styled_figure(go.Figure(go.Scatter(x=[1, 2], y=[.5, .6], mode='lines', name='loss')), 'Training loss', subtitle='a sentence that is too long for a telephone held upright in one hand')

def test_all_runs_share_one_script(run):
    run.save_chart(figure(), 'loss')
    script, = run.lab.results.glob('plotly-*.min.js')
    at = script.stat().st_mtime_ns
    Run(run.lab, run.lab.results/'scratch'/'exp_03', mock_manifest(), None).save_chart(figure(), 'loss')
    assert script.stat().st_mtime_ns == at and script.stat().st_mode & 0o444 == 0o444 and sum(o.stat().st_size for o in run.plots.iterdir()) < 20_000
    assert '["../../", ' in (run.plots/'loss.html').read_text() and '["../../../", ' in (run.lab.results/'scratch'/'exp_03'/'plots'/'loss.html').read_text()
    script.write_text('torn')
    keep_plotly(run.lab.results)
    assert script.stat().st_size > 1_000_000 and not [*run.lab.results.glob('.plotly*')]

def test_what_a_chart_holds_is_no_markup(run):
    fig = go.Figure(go.Scatter(y=[1], name=evil)).update_layout(title=dict(text=evil, subtitle=dict(text=evil)))
    page = chart_page(fig, evil, 'x.js', evil)
    assert len(re.findall('<script', page)) == 1 and len(re.findall('</script', page)) == 1

def test_a_chart_opens_where_its_run_was_moved_and_elsewhere_says_what_it_misses(run, tmp_path):
    chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if chromium is None: pytest.skip('needs Chromium or Chrome on the path')
    from playwright.sync_api import sync_playwright
    run.save_chart(figure(), 'loss')
    aside = shutil.copytree(run.plots, run.lab.results/'aside'/'exp_02,seed=1,20260301'/'plots')
    mailed = shutil.copytree(run.plots, tmp_path/'mailed')
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        page = browser.new_page(viewport=dict(width=390, height=800), color_scheme='dark')
        errors = []
        page.on('console', lambda o: o.type == 'error' and errors.append(o.text))
        page.goto((run.plots/'loss.html').as_uri())
        page.locator('.js-plotly-plot .trace').first.wait_for(timeout=30_000)
        assert page.title() == 'Training loss: exp_02,seed=1 in my <lab>' and not errors
        assert page.evaluate('document.documentElement.scrollWidth') == 390 and page.locator('p', has_text='in one hand').bounding_box()['height'] > 40 # it wraps
        assert page.evaluate("getComputedStyle(document.querySelector('.main-svg')).backgroundColor") == 'rgba(0, 0, 0, 0)'
        page.goto((aside/'loss.html').as_uri())
        page.locator('.js-plotly-plot .trace').first.wait_for(timeout=30_000)
        page.goto((mailed/'loss.html').as_uri())
        page.locator('#missing', has_text='.min.js, which lies in the results folder of its lab').wait_for(timeout=30_000)
        browser.close()
