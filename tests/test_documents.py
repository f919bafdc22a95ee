"Documents as a corpus: what is read, how it is cut, what is left out, and the same cutting for other documents"
import json, os, random
from pathlib import Path
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.check import check_folder
from embed_lab.data.documents import Document, Omitted, find_documents, headings_of, read_documents
from embed_lab.data.files import write_rows
from embed_lab.data.importing import import_data
from embed_lab.data.passages import cut_document, find_repeats, read_passages, this_cutting
from embed_lab.lab import LabError
from support import emb, made_lab, small_data
for o in ('semantic_text_splitter', 'selectolax', 'pypdf', 'mammoth'): pytest.importorskip(o)

def read(folder):
    "Documents by name, and what was left out"
    left = Omitted()
    return {o.name: o for o,_ in read_documents(find_documents([folder], left), left)}, left.counts()

def lines_of(path): return list(map(json.loads, path.read_text().splitlines()))

def tell(*args): return CliRunner().invoke(app, [*map(str, args)])

def pdf(*pages):
    "A PDF with a line of text a page"
    kids = ' '.join(f'{4 + 2*i} 0 R' for i in range(len(pages)))
    parts = ['<< /Type /Catalog /Pages 2 0 R >>', f'<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>', '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>']
    for i,text in enumerate(pages):
        shown = f'BT /F1 12 Tf 72 700 Td ({text}) Tj ET'
        parts += [f'<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2*i} 0 R >>', f'<< /Length {len(shown)} >>\nstream\n{shown}\nendstream']
    out, at = b'%PDF-1.4\n', []
    for i,o in enumerate(parts, 1):
        at.append(len(out))
        out += f'{i} 0 obj\n{o}\nendobj\n'.encode()
    table = ''.join(f'{o:010} 00000 n \n' for o in at)
    return out + f'xref\n0 {len(parts) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size {len(parts) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n'.encode()

# what is read

def test_encodings(tmp_path):
    text = 'Drücken Sie die Taste für die Rückstellung des Geräts.'
    for o in ('utf-8', 'utf-8-sig', 'utf-16', 'utf-16-be', 'utf-32', 'latin-1'): (tmp_path/f'{o}.md').write_bytes(text.encode(o))
    found, left = read(tmp_path)
    assert {o.text for o in found.values()} == {text} and not left
    assert [o.encoding for o in found.values()] == ['cp1252', 'utf-16-be', 'utf-16', 'utf-32', 'utf-8', 'utf-8']

def test_what_is_no_document_has_a_reason_and_the_numbers_add_up(tmp_path):
    files = {'good.md': b'Hold the button.', 'empty.md': b' \n', 'binary.txt': bytes(range(256))*9, 'torn.pdf': b'%PDF-1.7', 'torn.docx': b'PK\x03\x04', 'bare.html': b'<script>x()</script>', 'logo.png': b'x', 'rule.md': b'---\n\n***\n', '.hidden.md': b'secret'}
    for k,v in files.items(): (tmp_path/k).write_bytes(v)
    (tmp_path/'lost.md').symlink_to(tmp_path/'nowhere')
    (tmp_path/'loop').symlink_to(tmp_path)
    os.mkfifo(tmp_path/'pipe.md')
    res = read_passages([tmp_path], this_cutting())
    assert (res.documents, res.taken, [o['_id'] for o in res.passages]) == (9, 1, ['good.md#1'])
    assert res.files.counts() == {'a link to a folder that is read already': 1, 'no document, but .png': 1, 'no text in it': 1, 'binary': 1, 'empty': 1, 'a link to nothing': 1, 'cannot be read (not a file)': 1, 'no passage in it': 1,
        'a damaged Word file (BadZipFile)': 1, 'a damaged PDF (PdfStreamError)': 1}

def test_names_that_no_file_of_judgements_could_hold(tmp_path):
    (Path(os.fsdecode(os.fsencode(tmp_path) + b'/a\tb\xff.md'))).write_text('Hold the button.')
    assert [*read(tmp_path)[0]] == ['a b\ufffd.md']
    for o in ('x', 'y'): (tmp_path/o).mkdir(), (tmp_path/o/'a.md').write_text(o)
    assert [*find_documents([tmp_path/'x', tmp_path/'y'], Omitted())] == ['x/a.md', 'y/a.md']
    with pytest.raises(LabError, match='would both be called a.md'): find_documents([tmp_path/'x/a.md', tmp_path/'y/a.md'], Omitted())

def test_a_page_is_what_a_reader_sees(tmp_path):
    page = '''<!doctype html><meta charset="iso-8859-1"><title> A
        &lt;guide&gt; </title><nav>Home</nav><main><h2>Réset</h2><p>Hold <b>the</b>\n button<br>long.<p style="color:red; display: none">gone</p><div aria-hidden=true>gone</div>
        <ul><li>One<ul><li>Two</ul></ul><pre>a\n\n\n  b ``` c</pre><table><tr><th>x<td>y|z</table><footer>gone</footer></main><p>outside'''
    (tmp_path/'a.html').write_bytes(page.encode('latin-1'))
    doc = read(tmp_path)[0]['a.html']
    assert (doc.title, doc.encoding) == ('A <guide>', 'iso-8859-1')
    assert doc.text == '## Réset\n\nHold the button\nlong.\n\n- One\n  - Two\n\n````\na\n\n  b ``` c\n````\n\n| x | y\\|z |\n| --- | --- |\n'
    (tmp_path/'deep.html').write_text('<div>'*5000 + 'deep')
    assert 'deep' in read(tmp_path)[0].get('deep.html', doc).text or read(tmp_path)[1] == {'elements nested too deeply': 1}

def test_pages_of_a_pdf(tmp_path):
    (tmp_path/'a.pdf').write_bytes(pdf('Hold the button.', 'Close the lid.'))
    (tmp_path/'scan.pdf').write_bytes(pdf(''))
    found, left = read(tmp_path)
    assert left == {'no text in it, perhaps a scan': 1} and [found['a.pdf'].text[o:o + 5] for o in found['a.pdf'].pages] == ['Hold ', 'Close']
    assert [(o['text'], o['place']['page']) for o in cut_document(Document('a', 'pdf', 'a', 'x'*60 + '\n\n' + 'y'*60, pages=(0, 62)), this_cutting(70))] == [('x'*60, 1), ('y'*60, 2)]

def test_a_word_file(tmp_path):
    docx = pytest.importorskip('docx')
    made = docx.Document()
    made.add_heading('Reset', 1)
    made.add_paragraph('Hold the button.')
    made.add_table(1, 2).rows[0].cells[0].text = 'red'
    made.save(tmp_path/'a.docx')
    doc = read(tmp_path)[0]['a.docx']
    assert doc.title == 'Reset' and doc.text.startswith('# Reset\n\nHold the button.\n\n| red |')

# how it is cut

def random_document(seed):
    "Markdown of every kind of block"
    rng = random.Random(seed)
    def words(n): return ' '.join(rng.choices(['button', 'Überprüfen', '你好', 'lid', 'x'], k=n))
    blocks = [lambda: f"{'#'*rng.randint(1, 4)} {words(rng.randint(1, 30))}", lambda: '. '.join(words(rng.randint(2, 20)) for _ in range(rng.randint(1, 9))) + '.', lambda: '```\n# ' + '\n'.join(words(5) for _ in range(rng.randint(1, 9))) + '\n```',
        lambda: '\n'.join(f'- {words(6)}' for _ in range(rng.randint(1, 9))), lambda: '| a | b |\n| --- | --- |\n' + '\n'.join('| x | y |' for _ in range(9)), lambda: f'{words(3)}\n---', lambda: '你好。再见吧。'*rng.randint(1, 60)]
    return ('---\ntitle: "A: b"\n---\n' if seed % 2 else '') + '\n\n'.join(rng.choice(blocks)() for _ in range(rng.randint(1, 25)))

@pytest.mark.parametrize('seed', range(12))
def test_passages_are_stretches_of_their_document_and_nothing_is_lost(seed, tmp_path):
    (tmp_path/'a.md').write_text(random_document(seed))
    doc, size, left = read(tmp_path)[0]['a.md'], 50 + 37*seed, Omitted()
    found = cut_document(doc, this_cutting(size), left)
    places = [(o['place']['start'], o['place']['end']) for o in found]
    assert [doc.text[a:b] for a,b in places] == [o['text'] for o in found] and all(b - a <= size for a,b in places)
    assert all(b <= c for (_,b),(c,_) in zip(places, places[1:]))
    between = [doc.text[a:b] for a,b in zip([doc.start, *(b for _,b in places)], [*(a for a,_ in places), len(doc.text)])]
    assert sum(bool(o.strip()) for o in between) <= left.total
    assert doc.title == 'A: b' or seed % 2 == 0

def test_a_passage_begins_at_its_heading_and_stays_in_its_section():
    body = 'Hold the button. '*9
    text = f'# A\n\n## B\n\n{body}\n\n## C\n\n{body}\n\n```\n# no heading\n{"reset "*20}\n```\n\n### D\n\nshort\n'
    found = cut_document(Document('a.md', 'markdown', 'a', text), this_cutting(180))
    assert [(o['place']['headings'], o['text'][:6], o['text'][-3:]) for o in found] == [(['A', 'B'], '# A\n\n#', 'on.'), (['A', 'C'], '## C\n\n', 'on.'), (['A', 'C'], '```\n# ', '```'), (['A', 'C', 'D'], '### D\n', 'ort')]

def test_an_overlap_repeats_within_a_section():
    text = '# A\n\n' + ' '.join(f'Sentence number {i} is here.' for i in range(30))
    some = cut_document(Document('a.md', 'markdown', 'a', text), this_cutting(200, 80))[1:]
    assert all(b['place']['start'] < a['place']['end'] for a,b in zip(some, some[1:]))

def test_headings_are_not_found_in_code_or_lists():
    text = '~~~\n# a\n```\n# b\n~~~\n# C #\n- item\n---\nText\n===\n    # d\n#e\n####### f\n| t |\n---\n'
    assert [(o.level, o.words) for o in headings_of(text)] == [(1, 'C'), (1, 'Text')]

def test_repeats_are_of_one_that_stays():
    texts = [' '.join(f'w{i}' for i in range(40)), 'Other words altogether.', ' '.join(f'w{i}' for i in range(38)), ' '.join(f'W{i}!' for i in range(40))]
    assert find_repeats(texts) == {2: 0, 3: 0}

# the whole way

@pytest.fixture(scope='module')
def handbook(tmp_path_factory):
    "Forty documents, four of them twice, with one licence"
    folder = tmp_path_factory.mktemp('docs')/'handbook'
    folder.mkdir()
    rng, words = random.Random(1), [f'term{i}' for i in range(400)]
    for i in range(40):
        text = f"# Part {i}\n\n" + '\n\n'.join(f"## Task {j} of {i}\n\n{' '.join(rng.choices(words, k=60))}." for j in range(3))
        (folder/f'{i:02}.md').write_text(text + '\n\n## Licence\n\nPermission is hereby granted to any person.\n')
        if i < 4: (folder/f'copy{i}.md').write_text((folder/f'{i:02}.md').read_text())
    return folder

def test_copies_are_named_and_left_out_when_asked(handbook, tmp_path):
    res = import_data([handbook], tmp_path/'data', cutting=dict(size=600))
    lines = res.lines()
    assert lines[0] == '44 documents read: 44 taken, 0 left out' and any("boilerplate: 1 paragraph stands in 5 documents or more, such as 'permission is hereby granted to any person' in 44" in o for o in lines)
    every = lines_of(tmp_path/'data/corpus.jsonl')
    assert {o['group'] for o in every} == {o.name for o in handbook.iterdir()} and every[0]['place'].keys() == {'headings', 'start', 'end'}
    import_data([handbook], tmp_path/'less', cutting=dict(size=600, drop=True))
    left = lines_of(tmp_path/'less/corpus.jsonl')
    texts = [o['text'] for o in left]
    assert not any(o['group'].startswith('copy') and 'Task' in o['text'] for o in left) and not find_repeats(texts)
    said = json.loads((tmp_path/'less/passages.json').read_text())
    assert said['passages']['cut'] == len(left) + sum(said['passages_left_out'].values()) == len(every) and said['sources'] == json.loads((tmp_path/'data/passages.json').read_text())['sources']

def test_the_same_documents_make_the_same_bytes(handbook, tmp_path):
    for o in 'ab': import_data([handbook], tmp_path/o)
    assert [(tmp_path/'a'/o).read_bytes() for o in ('corpus.jsonl', 'passages.json')] == [(tmp_path/'b'/o).read_bytes() for o in ('corpus.jsonl', 'passages.json')]

@pytest.mark.parametrize('args,message', [(['--size', 10], 'a passage of 10 characters is too short'), (['--size', 100, '--overlap', 60], 'take 0 to 50'), (['--map', 'query=a'], 'documents have no columns; leave --map out'), (['faq.csv'], 'import them separately'), (['none.md'], 'none.md: no such file')])
def test_what_cannot_be_is_one_line(args, message, handbook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('faq.csv').write_text('query,passage\na,b\n')
    res = tell('import', handbook, *args, '--to', 'data')
    assert res.exit_code == 2 and message in res.stderr and res.stderr.count('\n') == 1 and not Path('data').exists(), res.stderr

def test_cutting_is_for_documents(tmp_path):
    (tmp_path/'faq.csv').write_text('query,passage\na,b\n')
    with pytest.raises(LabError, match='no documents to cut; leave --size out'): import_data([tmp_path/'faq.csv'], tmp_path/'data', cutting=dict(size=100))

def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    import importlib.util
    was = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *o: None if name == 'semantic_text_splitter' else was(name, *o))
    (tmp_path/'a.md').write_text('Hold the button.')
    with pytest.raises(LabError, match=r"pip install 'embed-lab\[documents\]'"): import_data([tmp_path/'a.md'], tmp_path/'data')
    assert not (tmp_path/'data').exists()

def test_a_failure_leaves_nothing(handbook, tmp_path, monkeypatch):
    from embed_lab.data import passages
    def stop(*o, **k): raise KeyboardInterrupt
    monkeypatch.setattr(passages, 'find_repeats', stop)
    with pytest.raises(KeyboardInterrupt): import_data([handbook], tmp_path/'data')
    assert not (tmp_path/'data').exists()

def test_check_shows_the_cutting(handbook, tmp_path):
    import_data([handbook], tmp_path/'data', cutting=dict(size=600))
    res = tell('check', tmp_path/'data')
    assert res.exit_code == 2 and 'no questions yet; `emb generate` makes some' in res.stderr and 'at most 600 characters, cut by semantic-text-splitter' in res.stderr
    some = lines_of(tmp_path/'data/corpus.jsonl')[:12]
    rows = [dict(query=f'how is task {i} done', passage=o['text'], passage_id=o['_id'], label=1) for i,o in enumerate(some)]
    for k,o in dict(train=rows[:6], gold=rows[6:]).items(): write_rows(tmp_path/f'data/{k}.jsonl', o)
    def said(): return [o.says for o in check_folder(tmp_path/'data').findings if o.rule == 'passages']
    assert len(said()) == 1 and said()[0].endswith(this_cutting().splitter)
    with (tmp_path/'data/corpus.jsonl').open('a') as f: f.write('{"_id": "new", "text": "One more."}\n')
    assert said()[0].endswith('corpus.jsonl has been changed since then')
    (tmp_path/'data/passages.json').write_text('{"size": ')
    with pytest.raises(LabError, match='passages.json is not JSON'): check_folder(tmp_path/'data')

def test_a_lab_of_documents_says_that_questions_are_next(handbook, tmp_path):
    res = emb('init', 'lab', '--data', handbook, cwd=tmp_path)
    assert res.stdout.rstrip().endswith('Next: cd lab && emb generate') and {o.name for o in (tmp_path/'lab/data').iterdir()} == {'corpus.jsonl', 'passages.json'}

def test_a_run_encodes_documents_cut_as_its_corpus_was(handbook, tmp_path, base):
    import_data([handbook], tmp_path/'cut', cutting=dict(size=300))
    data = small_data(tmp_path/'data')
    corpus = (data/'corpus.jsonl').read_bytes() + (tmp_path/'cut/corpus.jsonl').read_bytes()
    (data/'corpus.jsonl').write_bytes(corpus)
    (data/'passages.json').write_bytes((tmp_path/'cut/passages.json').read_bytes())
    lab = made_lab(tmp_path/'lab', data, base)
    emb('run', 'exp_02_in_batch', '-p', 'epochs', 1, cwd=lab)
    run = 'exp_02_in_batch,epochs=1'
    out = emb('encode', run, handbook, '--out', 'vectors', cwd=lab).stdout
    assert 'at most 300 characters' in out and (lab/'vectors/corpus.jsonl').read_bytes() == (tmp_path/'cut/corpus.jsonl').read_bytes()
    assert 'up to date' in emb('encode', run, handbook, '--out', 'vectors', cwd=lab).stdout
    res = emb('encode', run, handbook, '--out', 'data', cwd=lab, ok=2)
    assert 'is another corpus; name another folder with --out' in res.stderr and (lab/'data/corpus.jsonl').read_bytes() == corpus
