"""What stands below the tables for their readers: on the pages of a board, and in the terminal."""

FULL = """\
- The score is the accuracy in percent on the test split after the last training step. `±` is half the 95 %
  Student-t interval of the mean. With several sets the interval is over sets, each of which counts with the
  mean of its students; with one set it is over its students. Random subsets are drawn anew for each student,
  so their interval is over draws. `(n=1)` marks a single value.
- Letters behind scores (`71.0 ± 2.5 ab`): rows of a column (and IPC) that share a letter do not differ at
  95 % (Welch's t test over the same values as the interval; Holm's correction over all comparisons of the
  table). A row with a single value has none.
- `random, equal bytes` is the score of random samples that take as many bytes as the sets of a row: all
  their parts, and the teacher that labels while students are trained. The bytes are rounded down to a power
  of the square root of two, so that rows share these baselines. Images are compressed, at the quality that is
  best on held-out training images (`--method random_subset --param room=BYTES --param encode=best`); the
  labels are hard, and the protocol is the data's default (`hard-v1`, `graph-v2`). Five draws have a student
  each; above 2000 samples it is one; `(3 of 5)` says that some are missing. The number of samples is in
  brackets. Hours in brackets are estimated
  for one student that was not trained, as it would take more than an hour: in proportion to the largest
  baseline on the same device. The baselines stand in tables of their own, by bytes.
- `LRS` and `ARS` are the label-robust and augmentation-robust scores of DD-Ranking (arXiv 2505.13300; w and
  gamma 0.5, accuracies as fractions, from 0 to 100 %; a set equal to random images has 26.9 with ARS). LRS
  needs the same sets under `hard-v1` with hard labels, random images in the same table, and the whole
  training set; ARS needs the sets and the random images under `hard-plain-v1` or `soft-plain-v2` too. Where a
  part was not run there is a `-`, and where no row has all of them no column.
- A row marked `(no set)` is a training on real images, for as many steps as the sets beside it; its `bytes`
  are those that a student reads, and no verdict ranks it among sets. Trainings on a fraction of the images
  have tables of their own, whose columns are fractions and whose `bytes` are those that a student reads.
- `s to its accuracy: set, real`: seconds of the distillation and one training on the set, and of a training
  on real images (the whole set, or without a set) until it is first measured to be as accurate on
  validation images; `never` if it never is. `pays after trainings`: how many students must be trained until
  distillation and trainings took no longer than trainings on real images that are stopped there. Both need
  curves, made on one device with as many threads, and on images that the sets were not drawn from (with
  seed 0 older curves were); where they are missing there is a `-`, and where no row has them no column.
- `[...]` is the paper's number under the paper's own protocol; its source is listed below the table. A
  dagger † marks a number that was not verified at its source.
- A table holds one dataset, one protocol, one student network, one pixel space and one teacher. The digits
  behind a protocol or a teacher are the start of its hash. A teacher in the title of a table labels
  everything that students see, whatever labels (`label`) a set stores; its bytes are not counted with the
  sets, but those of an encoder with which a set regenerates its own labels (`projected`) are, as `teacher`.
- `random_subset+expert (label-v1)` in a table of soft labels are random images with one soft label each,
  stored with the set: what labels alone are worth.
- *Italics* mark random subsets and coresets, which every method has to beat. The score of the whole training
  set stands in the column of every IPC. `-` means not run, or unknown.
- If several IPCs share a column, `/` separates them in their order. `images` is the number of images that a
  set stores; `100->400` means that 100 are stored and 400 are decoded from them to train on. `bytes` is the
  size of the stored set: images + labels (+ other parts, by name), 1 kB = 1000 bytes. `distil s` is the mean
  wall time of a distillation in seconds. `peak MiB` is its largest memory: on a GPU what torch allocated, on
  a CPU everything that the process held, including images and libraries. Times and memory can only be
  compared on the same device; the settings below a table name it.
- Graphs have a table for each dataset and protocol, with a column for each student network (its layer, and
  how it pools the nodes). With two classes a cell shows `ROC-AUC ± half-width / accuracy`, with more the
  accuracy. Rows of one IPC are ranked by their mean over the columns that all of them have. `graphs` is the
  number of graphs that a set stores, `dense bytes` the size they would have as float32 features with a dense
  adjacency matrix, `IPC` the number of graphs per class that the method was allowed. `num_nodes`,
  `num_edges` and `label_histogram` are logistic regressions on these features.
- `size ρ` is Spearman's rank correlation of a student's scores (differences of the two logits) of the test
  graphs with their numbers of nodes, first the mean over the students that pool by the sum, then over those
  that pool by the mean. Near 1 or -1 a student has learned little else than to tell large graphs from small.
- `NAME[A,B]` are the classes A and B of the dataset NAME (`--dataset NAME --classes A,B`). A table titled
  `IPC by class` holds sets whose classes have numbers of samples of their own (`--ipc-per-class`,
  `--imbalanced`), the same in all of its rows; the IPC of its columns is that of all other classes.
- A table titled `then trained and tested on T` judges sets on other data: a student is trained on the set,
  gets a new last layer, is trained on T's training images, and tested on T. `no pretraining` are students
  without a set, `random_taught` random images with the vectors of a network that was trained without labels.
- Where a protocol has a later version with results on a dataset, the tables under the older one are folded at
  the end of the dataset. Their rows stay, and are never compared with those under the newer version.
- To reproduce a row, run `condense run --dataset D --method M --ipc I --protocol P --student S --seed N`,
  with `--param field=value` for every setting below the table that is not a default.
"""

SHORT = {
    "ipc": """\
±: half the 95 % interval over sets, or over students of one set; [paper's number], †: unverified; -: not run
rows that share a letter do not differ at 95 % (Welch, Holm over the table)
images: stored, or stored->decoded""",
    "student": """\
{measure}
±: half the 95 % interval over sets, or over students of one set
[paper's number], †: unverified; -: not run
rows of one IPC that share a letter do not differ at 95 % (Welch, Holm over the table)""",
}
"""The legend of a table in the terminal, by what its columns are."""

MEASURES = {True: "ROC-AUC ± half-width / accuracy", False: "accuracy ± half-width"}
"""What the cells of a table of graphs show, by whether the graphs have a ROC curve."""
