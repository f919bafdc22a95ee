"A report's page opens offline, draws its charts and runs nothing that came with the data"
import os, shutil
import pytest
from embed_lab.data.check import check_folder
from embed_lab.data.report import report_lines
from embed_lab.data.page import report_page as html
from embed_lab.data.files import write_rows

chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
if chromium is None and not os.environ.get('CI'): pytest.skip('needs Chromium or Chrome on the path', allow_module_level=True)

flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
evil = '</script><script>alert(1);window.run=1</script> <img/src="http://evil.example/x.png"onerror="alert(2)"> <b>bold</b> <a href="http://evil.example">x</a> \x1b[31m \u202e %{y} {{7*7}} <!--'

@pytest.fixture
def nasty(tmp_path):
    "A report on rows that attack whoever looks at them"
    def row(i, label=1): return dict(query=f'{evil} {i % 3}', passage=f'{i} {evil}', label=label)
    write_rows(tmp_path/'train.jsonl', [row(i, i % 4 and 1) for i in range(40)])
    write_rows(tmp_path/'dev.jsonl', [row(1)])
    write_rows(tmp_path/'gold.jsonl', [row(2), row(5)])
    (tmp_path/'gold.jsonl').open('a').write('{"query": "q", "<script>alert(3)</script>": 1, "label": "</script><script>alert(4)</script>"}\n')
    report = check_folder(tmp_path)
    for k in ('query', 'passage'): report.charts['terms'][k][:0] = [(evil, 99), ('2013', 98)]  # words of a text hold less than this, but a page need not rely on it
    report.charts['openings'][:0] = [(evil, 99), ('</script><script>alert(5)</script>', 98)]
    report.splits[0]['split'] = report.splits[0]['file'] = evil
    return report

@pytest.fixture
def page():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport=dict(width=1200, height=900))
        page.seen = []
        page.on('console', lambda m: page.seen.append(m.text))
        page.on('pageerror', lambda e: page.seen.append(str(e)))
        page.on('dialog', lambda d: (page.seen.append(d.message), d.dismiss()))
        page.on('request', lambda r: r.url.startswith('file://') or page.seen.append(r.url))
        yield page
        browser.close()

def test_a_page_draws_its_charts_and_runs_nothing_of_the_data(nasty, page, tmp_path):
    (tmp_path/'page.html').write_text(html(nasty), encoding='utf-8')
    page.goto(f"file://{tmp_path/'page.html'}")
    charts = page.locator('.js-plotly-plot')
    charts.nth(7).locator('.trace').first.wait_for(timeout=30_000, state='attached')
    assert charts.count() == 8 and all(charts.nth(i).locator('.trace').count() for i in range(8))
    for o in page.locator('summary').all(): o.click()
    for i in (0, 5, 6): charts.nth(i).hover()
    assert page.locator('.modebar-btn[data-title*="Share"]').count() == 0 and page.locator('.modebar-btn').count()
    shown = page.locator('.example', has_text='\\x1b[31m \\u202e').first
    assert page.locator('.example').first.is_visible() and shown.is_visible()
    assert page.evaluate('[window.run, document.images.length, document.links.length]') == [None, 0, 0]
    assert charts.nth(5).locator('.ytick').first.text_content().startswith('</script><script>alert(1)') and charts.nth(6).locator('.ytick').nth(1).text_content() == '2013'
    assert page.seen == []

def test_markup_of_ours_is_never_shown_as_text(nasty): assert '&lt;p class' not in html(nasty)

def test_a_page_is_no_wider_than_a_narrow_window(nasty, page, tmp_path):
    (tmp_path/'page.html').write_text(html(nasty), encoding='utf-8')
    page.set_viewport_size(dict(width=400, height=800))
    page.goto(f"file://{tmp_path/'page.html'}")
    page.locator('.js-plotly-plot').nth(7).locator('.trace').first.wait_for(timeout=30_000, state='attached')
    assert page.evaluate('document.documentElement.scrollWidth') <= 400

def test_in_a_notebook_nothing_of_the_data_runs(nasty, page):
    page.set_content(nasty._repr_html_())
    assert page.evaluate('[window.run, document.images.length, document.links.length, document.scripts.length]') == [None, 0, 0, 0]
    assert page.seen == []

def test_lines_hold_no_escape_sequence(nasty):
    assert all(o.isprintable() for o in report_lines(nasty)) and report_lines(nasty)[0] == nasty.verdict().capitalize()
