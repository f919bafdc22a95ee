"""A notebook-native lab for fine-tuning text-embedding models for retrieval

Fine-tuning an embedding model takes an afternoon; knowing whether it got better takes discipline. Embed Lab brings the discipline as a convention: notebooks that your team owns, experiments that are recorded, and scores that always come with intervals, beside those of the untuned model and of plain keyword search.

Modules:

- `embed_lab.cli.commands`: `emb`: parse, call, print
- `embed_lab.cli.terminal`: How commands print, show progress and refuse
- `embed_lab.data.check`: The data doctor: one report on everything that is wrong with a lab's data
- `embed_lab.data.collections`: Published collections of documents, queries and judgements, in whatever layout they come, as a lab's data
- `embed_lab.data.columns`: Say what each column of somebody's table is, and make rows of its records
- `embed_lab.data.files`: Write files whole or not at all, find them plain or gzipped, and know them by their content
- `embed_lab.data.findings`: What is wrong with files, judgements and rows, each with a few examples
- `embed_lab.data.folder`: The one reading of a lab's data folder: what `emb check` reports and what stops `emb run`
- `embed_lab.data.formats`: Recognise a file by its content, and stream its records with their places
- `embed_lab.data.importing`: Anyone's files as a lab's train, dev and gold, with every row accounted for
- `embed_lab.data.leaks`: What the splits of a lab give away to one another, and which of it makes a score worthless
- `embed_lab.data.metrics`: Scores of every query, and how far their mean can be trusted
- `embed_lab.data.profile`: What a data set is like, in numbers: what repeats, how long texts are, which words are frequent
- `embed_lab.data.reading`: Read a file once: at full speed where it is sound, line by line where it is not
- `embed_lab.data.removals`: Which rows of a split should go: duplicates, leaks and conflicts, as the check finds them
- `embed_lab.data.report`: What the data doctor found: a verdict and a list of findings, shown in a terminal, in a notebook and as JSON
- `embed_lab.data.rows`: What a line of a lab's data holds, and everything that can be wrong with one
- `embed_lab.data.sample`: Docstring-to-code retrieval data, mined from the standard library of the running Python
- `embed_lab.data.split`: One file of rows into train, dev and gold that give nothing away to one another
- `embed_lab.data.texts`: Which texts are the same, the same but for typing, or nearly the same
- `embed_lab.door`: The names of the toolkit that a lab's own notebooks may import
- `embed_lab.evaluation.browse`: Which queries moved between two systems, and what entered or left their top ten
- `embed_lab.evaluation.comparable`: Completed runs that were judged alike, grouped into recipes and their seeds
- `embed_lab.evaluation.compare`: Which recipe is better, over queries and seeds, and what differs between them
- `embed_lab.evaluation.figures`: Training curves overlaid, queries that moved, and a browser of them, all of which work without a network
- `embed_lab.evaluation.judge`: Turn what systems found into scores, and into the files that comparisons read
- `embed_lab.evaluation.page`: A notebook that comes with the package, run on a lab's results and made into one page
- `embed_lab.evaluation.reproduce`: Repeat a run from its manifest, and say whether the result is the same and, if not, why
- `embed_lab.evaluation.scores`: A tuned encoder's scores on gold beside those of other systems, as a table and in one sentence
- `embed_lab.evaluation.slices`: For which queries a model got better, and for which worse
- `embed_lab.evaluation.verdict`: Win, tie or loss between two recipes, from a test over both queries and seeds
- `embed_lab.lab`: Where a lab is, what its settings say, and where its data and runs live
- `embed_lab.labs.choose`: Which recipes some data can feed, the best suited first, with reasons
- `embed_lab.labs.recipes`: Which recipes exist, ours and those of other packages, each checked before it may touch a lab
- `embed_lab.labs.scaffold`: Make a lab and its experiments, without ever overwriting a file
- `embed_lab.models.base`: Where a base model's weights come from, and what they are loaded on
- `embed_lab.models.bm25`: BM25 in any script, and an answer where there are no words
- `embed_lab.models.chunks`: A batch of texts of all lengths, read in parts of about one length each
- `embed_lab.models.corpus`: Its vectors in a file, written as they are made
- `embed_lab.models.crossencoders`: Models that read query and passage together: distinguished from encoders, loaded safely, and put behind a search
- `embed_lab.models.families`: How the makers of well-known embedding models want them used, and what happens when a model is not
- `embed_lab.models.index`: The best documents for very many queries in a very large corpus, nearly all of them, with the share that was found
- `embed_lab.models.inference`: A transformer that is not being trained, computed on a CPU by the fastest way to the same products
- `embed_lab.models.search`: The best documents for every query, exactly, in memory that does not grow with their number
- `embed_lab.models.vectors`: Texts encoded once, and kept on disk under everything that decided their vectors
- `embed_lab.notebooks`: What an experiment notebook says of itself: its parameters, its code, what it is for
- `embed_lab.runs.card`: What a model was made of and what it is good for, written into the card that travels with it
- `embed_lab.runs.cluster`: The points of a sweep, or the texts of a corpus, on the machines of a Ray cluster
- `embed_lab.runs.engine`: papermill with kernels that are forked rather than started
- `embed_lab.runs.execute`: Run an experiment notebook into `results/`, with everything checked before a kernel starts
- `embed_lab.runs.looks`: Gold is finite: how often a gold set has been looked at, and by how many recipes
- `embed_lab.runs.manifest`: What a run was made of, complete enough to make it again, and free of secrets
- `embed_lab.runs.record`: Start a run from a notebook, record it while it executes, and notice how it ends
- `embed_lab.runs.results`: The state of a run, read truthfully from its folder, and who may write there
- `embed_lab.runs.study`: A search instead of a grid: what was found so far says where to look next
- `embed_lab.runs.sweep`: Many runs of one experiment, several at a time, each of them a run like any other
- `embed_lab.runs.trackers`: A team's tracker follows a training live
- `embed_lab.runs.warm`: Kernels that are forked from a process which has the imports done
- `embed_lab.style`: Colours, tables and the look of charts: everything that people see is drawn from here
- `embed_lab.training.audit`: Wrong answers that may be right: which are suspected, why, and what was decided
- `embed_lab.training.batches`: Which rows may share a batch, so that no query meets one of its own answers as a wrong one
- `embed_lab.training.breakdown`: Training that has gone wrong, noticed before its weights are used
- `embed_lab.training.checkpoints`: Resuming from the newest checkpoint that is whole
- `embed_lab.training.contract`: What each loss reads, and which data it must not be given
- `embed_lab.training.dev`: What a model in training is worth on dev, by the measure it is meant to improve
- `embed_lab.training.devices`: A batch shared among devices, and the rest of the notebook unchanged
- `embed_lab.training.estimate`: How long a run will take, how much memory and disk, and which batch would still fit, from a few timed steps
- `embed_lab.training.examples`: A lab's rows in the columns that a loss reads
- `embed_lab.training.mining`: Hard negatives: wrong passages that the search takes for right ones
- `embed_lab.training.negatives`: Training rows with the negatives and the decisions that belong to them
- `embed_lab.training.trainer`: sentence-transformers' trainer, with what goes wrong without notice taken care of
- `embed_lab.training.weights`: The base model that a run starts from, and the tuned model that it leaves"""

__version__ = "0.1.0"
