"""Importing a folder of some thousand Markdown files beside the bare splitter, in MB a second

    python bench/documents.py [FILES] [ROUNDS]

Ours is all of `emb import FOLDER`: files found, read and decoded, headings found, sections cut, near duplicates and
boilerplate sought, corpus.jsonl and passages.json written and synced. The peer reads each file as UTF-8 and cuts it by
semantic-text-splitter, and writes nothing. The same pages as HTML show what selectolax and our walk take. CPU seconds;
each measurement is a process of its own."""
import random, statistics, subprocess, sys, tempfile
from pathlib import Path

ways = {
    'emb import, Markdown': ('md', 'from embed_lab.data.importing import import_data\nimport_data([folder/"md"], folder/str(time.time()))'),
    'emb import, HTML': ('html', 'from embed_lab.data.importing import import_data\nimport_data([folder/"html"], folder/str(time.time()))'),
    'ours without repeats and writing': ('md', '''
from embed_lab.data.documents import Omitted, find_documents, read_documents
from embed_lab.data.passages import cut_document, this_cutting
cutting = this_cutting()
for doc,_ in read_documents(find_documents([folder/'md'], Omitted()), Omitted()): cut_document(doc, cutting)'''),
    'the bare splitter': ('md', '''
from semantic_text_splitter import MarkdownSplitter
cut = MarkdownSplitter(1000).chunk_indices
for o in (folder/'md').iterdir(): cut(o.read_text())''')}

def measure(code, folder):
    "CPU seconds of one way in a process of its own, imports left out"
    head = f"import time\nfrom pathlib import Path\nimport semantic_text_splitter, selectolax.lexbor, embed_lab.data.importing\nfolder, start = Path({str(folder)!r}), time.process_time()\n"
    out = subprocess.run([sys.executable, '-c', f'{head}{code}\nprint(time.process_time() - start)'], check=True, capture_output=True, text=True).stdout
    return float(out.split()[-1])

def made(folder, files):
    "Guides with headings, lists, code and tables, of the same words as Markdown and as HTML; MB of each"
    rng, words = random.Random(0), [f'word{i}' for i in range(20_000)]
    def text(n): return ' '.join(rng.choices(words, k=n))
    for o in ('md', 'html'): (folder/o).mkdir()
    for i in range(files):
        md, html = [f'# {text(4)}'], []
        for _ in range(rng.randint(2, 9)):
            head, code, items, prose = text(4), text(12), [text(8) for _ in range(4)], [f'{text(15)}. {text(25)}. {text(9)}.' for _ in range(3)]
            md += [f'## {head}', *prose, '\n'.join(f'- {o}' for o in items), f'```\n# {code}\n```', f'| a | b |\n| --- | --- |\n| {head} | {code} |']
            html += [f'<h2>{head}</h2>', *(f'<p>{o}</p>' for o in prose), f"<ul>{''.join(f'<li>{o}</li>' for o in items)}</ul><pre># {code}</pre><table><tr><td>{head}<td>{code}</table>"]
        (folder/f'md/{i}.md').write_text('\n\n'.join(md) + '\n')
        (folder/f'html/{i}.html').write_text(f'<title>{md[0][2:]}</title><nav>{text(20)}</nav><main>{"".join(html)}</main>')
    return {o: sum(p.stat().st_size for p in (folder/o).iterdir())/1e6 for o in ('md', 'html')}

def main(files=3000, rounds=3):
    with tempfile.TemporaryDirectory() as tmp:
        size, took = made(Path(tmp), files), {k: [] for k in ways}
        for _ in range(rounds):
            for k,(_,code) in ways.items(): took[k].append(measure(code, Path(tmp)))
        for k,(kind,_) in ways.items():
            s = statistics.median(took[k])
            print(f"{k:34} {size[kind]:6.1f} MB in {s:6.2f} s   {size[kind]/s:6.1f} MB/s")

if __name__ == '__main__': main(*map(int, sys.argv[1:]))
