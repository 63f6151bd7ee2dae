"""Every key: its default, what it means, its unit and choices.

Sections, names and defaults are those of PySlowFast and of the published UniFormer tree, but for comments
that say "here". Keys that only other families of models read are left out; foreign.py says what happens to
them. Words: a clip is NUM_FRAMES frames, a view is one clip in one crop, a shard is one machine.
"""

from slowfast.config.node import CfgNode


def get_cfg() -> CfgNode:
    """A new, mutable tree of defaults.

    Its ``merge_from_file`` and ``merge_from_list`` read recipes; ``slowfast.config.resolve`` then gives a
    checked, frozen copy. ``load_cfg`` does all of it in one go.
    """
    cfg = CfgNode()
    data = _data, _data_loader, _data_training, _augmentation
    for add in (_run, _train, _test, *data, _model, _uniformer, _solver, _log):
        add(cfg)
    cfg.set_kinds(KINDS)
    return cfg


# Kinds of the keys whose default does not show what else may stand there (see values.py).
KINDS = {
    "TRAIN.MIXED_PRECISION": "text or yes/no",
    "TEST.MIXED_PRECISION": "text or yes/no",
    "TEST.NUM_TEMPORAL_CLIPS": "list of whole numbers",
    "TEST.HAS_LABELS": "text or yes/no",
    "TRAIN.INIT_ALLOW": "list of texts",
    "TRAIN.RESUME_ALLOW": "list of texts",
    "MODEL.FREEZE": "list of texts",
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": "list of numbers",
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE": "list of numbers",
    "UNIFORMER.MLP_RATIO": "number or list",
    "UNIFORMER.QKV_SCALE": "number or nothing",
    "UNIFORMER.PRETRAIN_NAME": "text or nothing",
    "UNIFORMER.PRUNE_RATIO": "list of lists",
    "UNIFORMER.TRADE_OFF": "list of lists",
    "SOLVER.STEPS": "list of numbers",
    "SOLVER.LRS": "list of numbers",
    "SOLVER.CLIP_GRADIENT": "number or nothing",
    "SOLVER.CLIP_GRAD_L2NORM": "number or nothing",
    "SOLVER.CLIP_GRAD_VAL": "number or nothing",
    "SOLVER.NO_WEIGHT_DECAY_NAMES": "list of texts",
}


def _run(cfg: CfgNode) -> None:
    # -------------------------------------------------------------------------------------------------- run
    cfg.OUTPUT_DIR = "./tmp"  # folder of the run: log, metrics, checkpoints/, results
    cfg.RECIPE = ""  # the recipe file this config was read from; load_cfg sets it (here)
    cfg.RNG_SEED = 1  # all randomness of a run follows from it
    cfg.NUM_GPUS = 1  # GPUs, and so processes, per shard; 0: one process on the CPU
    cfg.NUM_SHARDS = 1  # shards (nodes); --num_shards sets it
    cfg.SHARD_ID = 0  # number of this shard, from 0; --shard_id sets it
    cfg.DIST_BACKEND = "nccl"  # nccl | gloo; nccl without a GPU means gloo (here)
    # CPU threads of torch per process; 0: as many as the cores and DATA_LOADER.NUM_WORKERS allow, and on a CPU those of
    # the checkpoint where a run goes on or is tested, since the last bits of results follow from them (here)
    cfg.NUM_THREADS = 0


def _train(cfg: CfgNode) -> None:
    # ------------------------------------------------------------------------------------------------ TRAIN
    cfg.TRAIN = CfgNode()
    cfg.TRAIN.ENABLE = True  # train
    # Registered name of the data set for training and validation: kinetics and ucf101 (video files, dense clips),
    # kinetics_sparse (video files, one frame of each segment), ssv1 = sth (folders of frames, segments), ssv2
    # (folders or files, segments), hmdb51 = hmdb (folders or files, dense clips)
    cfg.TRAIN.DATASET = "kinetics"
    # Videos per forward pass and shard, shared by its GPUs; each gives AUG.NUM_SAMPLE clips
    cfg.TRAIN.BATCH_SIZE = 64
    # Passes whose gradients are averaged for one optimizer step of BATCH_SIZE x NUM_SHARDS x this many videos (here)
    cfg.TRAIN.ACCUMULATION_STEPS = 1
    cfg.TRAIN.EVAL_PERIOD = 10  # epochs between validations; 0: none, and no validation list is read (here)
    # Training ends before MAX_EPOCH when so many validations in a row were no better than the best; 0: never (here)
    cfg.TRAIN.PATIENCE = 0
    cfg.TRAIN.CHECKPOINT_PERIOD = 10  # epochs between checkpoints
    cfg.TRAIN.SAVE_LATEST = True  # a checkpoint after every epoch, also between periods (here)
    cfg.TRAIN.KEEP_CHECKPOINTS = 2  # newest checkpoints kept, besides the best; 0: all (here)
    # Most seconds, and most steps, between two checkpoints also in the middle of an epoch: what a crash can cost. 0: no
    # such limit. A signal (SIGTERM, SIGUSR1, Ctrl-C) makes one after the current step whatever these say (here)
    cfg.TRAIN.CHECKPOINT_SECONDS = 600.0
    cfg.TRAIN.CHECKPOINT_STEPS = 0
    # auto | bf16 | fp16 | off (here; True and False are read as auto and off). auto: bf16 on a GPU that has it, else
    # fp16; on a CPU bf16 if it has AMX, else off. Results then differ between machines: write off where they must not
    cfg.TRAIN.MIXED_PRECISION = "auto"
    # Go on with the same run: "" (no), "auto" (the newest checkpoint in OUTPUT_DIR, if any) or a file (here)
    cfg.TRAIN.RESUME = ""
    # What may differ from the run that is resumed, from the end of an epoch: batch (videos of a step), list (here)
    cfg.TRAIN.RESUME_ALLOW = []
    # Start from weights alone: "" (no), a file, or a published name looked up in MODEL.WEIGHTS_DIR (here).
    # Wins over UNIFORMER.PRETRAIN_NAME
    cfg.TRAIN.INIT = ""
    # Parameters that may be missing, unexpected or misshapen in them: patterns such as "blocks4.*" (here)
    cfg.TRAIN.INIT_ALLOW = []
    # Names of PySlowFast for RESUME and INIT. AUTO_RESUME True: RESUME auto, unless RESUME is given.
    # CHECKPOINT_FILE_PATH: INIT with CHECKPOINT_EPOCH_RESET, else RESUME if OUTPUT_DIR has nothing to resume
    cfg.TRAIN.AUTO_RESUME = True
    cfg.TRAIN.CHECKPOINT_FILE_PATH = ""
    cfg.TRAIN.CHECKPOINT_EPOCH_RESET = False


def _test(cfg: CfgNode) -> None:
    # ------------------------------------------------------------------------------------------------- TEST
    cfg.TEST = CfgNode()
    cfg.TEST.ENABLE = True  # test, after training where both are enabled
    cfg.TEST.DATASET = "kinetics"  # name of the data set for testing, as above
    # The list to test, a file of PATH_TO_DATA_DIR, instead of the data set's own, such as unlabelled.csv (here)
    cfg.TEST.LIST = ""
    cfg.TEST.BATCH_SIZE = 8  # views per step and shard, shared by its GPUs; validation uses it too
    cfg.TEST.NUM_ENSEMBLE_VIEWS = 10  # clips per video, spread over time
    # Further numbers of clips, each scored as a test with it alone would be, from the same pass over the videos:
    # such as [1, 2, 4]; results.json tells them in by_clips
    cfg.TEST.NUM_TEMPORAL_CLIPS = []
    # auto | True | False (here): whether the test list has true labels. False: no accuracy, but submission.csv.
    # auto: not if 20 videos or more all have the same label, as in the published test list of Something-Something, or
    # fewer in a list of such a name: unlabelled.csv, ..._test_split.txt
    cfg.TEST.HAS_LABELS = "auto"
    cfg.TEST.NUM_SPATIAL_CROPS = 3  # crops per clip: 1 (centre) or 3 (left, centre, right, or top to bottom)
    cfg.TEST.CHECKPOINT_FILE_PATH = ""  # weights to test; "": those of OUTPUT_DIR, see TEST_BEST
    cfg.TEST.TEST_BEST = False  # test best.pyth of OUTPUT_DIR instead of the newest checkpoint
    # As TRAIN.MIXED_PRECISION, for validation and test (here). Published scores are of float32, which off keeps. auto
    # where it means bf16 or fp16 is faster and rounds values to 8 or 11 significant bits: videos whose two best
    # classes score almost alike may change sides, and a test against a published score names it as a likely cause
    cfg.TEST.MIXED_PRECISION = "off"
    # Keep scores in OUTPUT_DIR while they are made; a test that was stopped goes on after them (here)
    cfg.TEST.RESUME = False


def _data(cfg: CfgNode) -> None:
    # ------------------------------------------------------------------------------- DATA: lists and frames
    cfg.DATA = CfgNode()
    cfg.DATA.PATH_TO_DATA_DIR = ""  # folder of the lists
    # Folder that the paths in the lists start from, or uncompressed tar files whose members have these paths: a
    # pattern such as "shards/*.tar" (here); tools/prepare_data.py shards writes them
    cfg.DATA.PATH_PREFIX = ""
    # uniform | balanced (here). balanced: each class has the same share of the videos of an epoch, which stays as long:
    # those of rare classes come several times, of frequent ones not all
    cfg.DATA.SAMPLER = "uniform"
    # Between path and label, for kinetics, kinetics_sparse and ucf101; "": found out from the list (here;
    # published: " "), as it always is for the data sets that may have frame folders
    cfg.DATA.PATH_LABEL_SEPARATOR = ""
    # ssv1 (sth), ssv2, hmdb51 (hmdb): name of a list, {} is train or validation (hmdb51: train or val). Where there
    # is no such file: train.csv, val.csv, test.csv (here), as for the other data sets
    cfg.DATA.LABEL_PATH_TEMPLATE = "somesomev1_rgb_{}_split.txt"
    cfg.DATA.IMAGE_TEMPLATE = "{:05d}.jpg"  # file of a frame, counted from 1, for frame folders
    # ucf101, hmdb51: where PATH_TO_DATA_DIR has no lists, they are those of its folder split1, split2 or split3 (here)
    cfg.DATA.SPLIT = 1
    # Names in order, or JSON name -> label; "": classes.txt beside the lists (here)
    cfg.DATA.CLASS_NAMES_PATH = ""
    # Several labels a video, "path 3;17;42"; mean average precision instead of top-k
    cfg.DATA.MULTI_LABEL = False
    # Training stops when more of the videos tried cannot be read, 0..1 (here)
    cfg.DATA.MAX_BAD_FRACTION = 0.5

    # pyav; decord and torchvision are accepted and mean the same reader (here)
    cfg.DATA.DECODING_BACKEND = "pyav"
    cfg.DATA.NUM_FRAMES = 8  # frames of a clip
    cfg.DATA.SAMPLING_RATE = 8  # a clip spans NUM_FRAMES x SAMPLING_RATE frames of the video
    cfg.DATA.SAMPLING_UNIT = "frames"  # frames | seconds: native frames, or frames at TARGET_FPS (here)
    cfg.DATA.TARGET_FPS = 30.0  # frames per second that SAMPLING_RATE counts, with SAMPLING_UNIT seconds
    # Training adds a random number from 0 to this to TARGET_FPS, so clips are shorter: motion of varying speed
    cfg.DATA.TRAIN_JITTER_FPS = 0.0
    # Test clips from the first to the last possible start, a single one centred
    cfg.DATA.USE_OFFSET_SAMPLING = False
    # Training clips of sparse data sets: 0: one random frame of each segment, as published. A share above 0: frames
    # evenly spread over a random stretch of at least this share of the video (here)
    cfg.DATA.SPARSE_STRETCH = 0.0
    # forward | reversed | shuffled, in all splits: what a model knows without the order of time (here)
    cfg.DATA.FRAME_ORDER = "forward"
    cfg.DATA.INPUT_CHANNEL_NUM = [3]  # channels of the model's input, one pathway (here; published: [3, 3])
    cfg.DATA.REVERSE_INPUT_CHANNEL = (
        False  # RGB -> BGR, for weights trained on BGR: published ssv1, ssv2, hmdb51
    )
    # For small sets: shrink frames to this short side, antialiased, and keep them in memory, so that later epochs
    # decode nothing; 0: off (here)
    cfg.DATA.CACHE_SHORT_SIDE = 0
    # Most memory for that in each loader worker, for training and validation each; the rest is decoded anew (here)
    cfg.DATA.CACHE_GB = 2.0
    # Resize with antialiasing, in training and test: better for clips made several times smaller, but not what
    # published weights were trained with (here)
    cfg.DATA.ANTIALIAS = False
    cfg.DATA.MEAN = [0.45, 0.45, 0.45]  # taken from pixels in 0..1, per channel
    cfg.DATA.STD = [0.225, 0.225, 0.225]  # and then divided by this

    # -------------------------------------------------------------------------- DATA: validation and testing
    cfg.DATA.TEST_CROP_SIZE = 256  # side of a crop, pixels
    cfg.DATA.TEST_SCALE = 0  # short side before cropping, pixels; 0: TEST_CROP_SIZE (here)
    # The one view of a clip is the whole frame, squeezed into a square of TEST_CROP_SIZE, instead of a crop (here)
    cfg.DATA.TEST_WHOLE_FRAME = False
    # How the views of a video become one score: sum (of logits) | softmax (mean of probabilities, here) | max
    cfg.DATA.ENSEMBLE_METHOD = "sum"


def _data_loader(cfg: CfgNode) -> None:
    # ------------------------------------------------------------------------------------------ DATA_LOADER
    cfg.DATA_LOADER = CfgNode()
    # Worker processes per process, at most as many as there are cores; 0: none
    cfg.DATA_LOADER.NUM_WORKERS = 8
    cfg.DATA_LOADER.PREFETCH_FACTOR = 2  # batches that each worker prepares ahead (here)
    cfg.DATA_LOADER.START_METHOD = ""  # fork | spawn | forkserver; "": as the platform does (here)
    cfg.DATA_LOADER.PIN_MEMORY = True  # page-locked batches, for faster copies to a GPU
    # A worker that reads one video for longer than so many seconds is killed; after the second time the video counts as
    # unreadable. Far above what a slow disk takes, so that only what hangs is met, and far below the half hour after
    # which other processes give up waiting for this one; 0: no such limit (here)
    cfg.DATA_LOADER.DEADLINE_SECONDS = 120.0
    cfg.DATA_LOADER.ENABLE_MULTI_THREAD_DECODE = False  # several decoder threads per worker


def _data_training(cfg: CfgNode) -> None:
    # ---------------------------------------------------------------------------- DATA: training crops, flip
    cfg.DATA.TRAIN_CROP_SIZE = 224  # side of a crop, pixels
    # Random brightness, contrast and saturation of training clips, factors within 1 +- these strengths (0..1). The
    # names are upstream's, where it serves self-supervised training; no published recipe of UniFormer uses it
    cfg.DATA.SSL_COLOR_JITTER = False
    cfg.DATA.SSL_COLOR_BRI_CON_SAT = [0.4, 0.4, 0.4]
    cfg.DATA.RANDOM_FLIP = True  # mirror half of the clips; not for classes that tell left from right
    # A crop of random area and shape: ranges [low, high] of area / frame area and of width / height; both are
    # given or neither
    cfg.DATA.TRAIN_JITTER_SCALES_RELATIVE = []
    cfg.DATA.TRAIN_JITTER_ASPECT_RELATIVE = []
    cfg.DATA.TRAIN_JITTER_MOTION_SHIFT = False  # that crop moves and grows from the first frame to the last
    # Without them: a crop at a random place of a frame with a random short side in [low, high] pixels
    cfg.DATA.TRAIN_JITTER_SCALES = [256, 320]
    cfg.DATA.INV_UNIFORM_SAMPLE = False  # 1 / short side is uniform instead of the short side


def _augmentation(cfg: CfgNode) -> None:
    # -------------------------------------------------------------------------------------------------- AUG
    cfg.AUG = CfgNode()
    cfg.AUG.ENABLE = False  # RandAugment, erasing and repeated samples on
    cfg.AUG.NUM_SAMPLE = 1  # differently augmented copies of each training clip
    # RandAugment, such as rand-m7-n4-mstd0.5-inc1: magnitude 0..10, number of operations, deviation of the
    # magnitude, operations that grow with it; "": off
    cfg.AUG.AA_TYPE = "rand-m9-mstd0.5-inc1"
    cfg.AUG.INTERPOLATION = "bicubic"  # bicubic | bilinear | random, of its geometric operations
    # Crop, resize, flip and the geometric operations after the last other one as one bilinear sampling of the frames,
    # where that saves steps: the same draws, less time, one blur instead of several. Not with DATA.ANTIALIAS (here)
    cfg.AUG.FUSED = False
    cfg.AUG.COLOR_JITTER = 0.4  # without effect on video; in the published files
    cfg.AUG.RE_PROB = 0.25  # random erasing: probability per clip
    cfg.AUG.RE_MODE = "pixel"  # pixel (noise) | rand (one colour a frame) | const (grey)
    cfg.AUG.RE_COUNT = 1  # most boxes per clip
    # A still frame of another clip of the batch is blended into all frames of a clip, with up to this share of it:
    # what moves then tells more than where it moves. Probability per clip; no published recipe uses it (here)
    cfg.AUG.BACKGROUND_PROB = 0.0
    cfg.AUG.BACKGROUND_SHARE = 0.5
    cfg.AUG.RE_SPLIT = False  # without effect; in the published files

    # ------------------------------------------------------------------------------------------------ MIXUP
    cfg.MIXUP = CfgNode()
    cfg.MIXUP.ENABLE = False  # mix clips of a batch in pairs, with their labels
    cfg.MIXUP.ALPHA = 0.8  # mixup: both parameters of the beta distribution of the share; 0: no mixup
    cfg.MIXUP.CUTMIX_ALPHA = 1.0  # cutmix: likewise for the area of the box; 0: no cutmix
    cfg.MIXUP.PROB = 1.0  # probability that a batch is mixed at all
    cfg.MIXUP.SWITCH_PROB = 0.5  # probability of cutmix instead of mixup, where both are on
    cfg.MIXUP.LABEL_SMOOTH_VALUE = 0.1  # share of a label that is spread over all classes, 0..1


def _model(cfg: CfgNode) -> None:
    # ------------------------------------------------------------------------------------------------ MODEL
    cfg.MODEL = CfgNode()
    cfg.MODEL.MODEL_NAME = "Uniformer"  # registered name of the model (here; published: SlowFast)
    cfg.MODEL.ARCH = "uniformer"  # family; in the published files, read by nobody (here; published: slowfast)
    cfg.MODEL.NUM_CLASSES = 400  # outputs of the head
    # cross_entropy | soft_cross_entropy (for MIXUP) | bce_logit (MULTI_LABEL)
    cfg.MODEL.LOSS_FUNC = "cross_entropy"
    # none | balanced: the loss of each class weighted by one over its training videos, 1 on average (here)
    cfg.MODEL.CLASS_WEIGHTS = "none"
    # Parameters that are not trained, by patterns of their full names such as "patch_embed*" or "blocks1.*"; batch
    # norms frozen so keep their statistics (here)
    cfg.MODEL.FREEZE = []
    cfg.MODEL.DROPOUT_RATE = 0.5  # without effect on UniFormer, see UNIFORMER.HEAD_DROPOUT_RATE
    cfg.MODEL.USE_CHECKPOINT = False  # recompute activations in the backward pass: less memory, more time
    cfg.MODEL.CHECKPOINT_NUM = [0, 0, 0, 0]  # in the first n blocks of each stage
    # none | list | auto; "": list with USE_CHECKPOINT, else none. list: as CHECKPOINT_NUM says. auto: as few blocks as
    # let a training step fit into CHECKPOINT_GB; results stay the same, on a CPU to the bit (here)
    cfg.MODEL.CHECKPOINT = ""
    # GiB that weights, gradients, optimizer state and activations may take in each process, for auto; 0: what is free
    # on its GPU, or its share of what is free on the machine, but for a tenth (here)
    cfg.MODEL.CHECKPOINT_GB = 0.0
    # Exact formulations of the costly layers, for all of a kind; auto: the fastest for each shape, measured once and
    # kept in checkpoints (here). auto | native | channels_last | folded | summed | triton (with CUDA)
    cfg.MODEL.DWCONV = "auto"
    cfg.MODEL.LINEAR = "auto"  # auto | native | onednn (on a CPU, in float32) (here)
    cfg.MODEL.ATTENTION = "auto"  # auto | fused | explicit | chunked (on a CPU) (here)
    # Compute through torch.compile, in training, validation and test: it takes minutes at the start, for each of them.
    # Where it fails the run goes on without, and the log says why. Of the ways above onednn and chunked are not used
    # then (here)
    cfg.MODEL.COMPILE = False
    # Test weights whose head has more rows than there are classes with the first ones of them (here)
    cfg.MODEL.SLICE_HEAD = False
    cfg.MODEL.WEIGHTS_DIR = "path_to_models"  # folder where published names of weights are looked up (here)
    # Class names of weights that hold none, as published ones do; compared with those of the lists; "": none (here)
    cfg.MODEL.CLASS_NAMES_PATH = ""

    # --------------------------------------------------------------------------------------------------- BN
    cfg.BN = CfgNode()
    # Whose batch gives the statistics in training: batchnorm, that of each process; sync_batchnorm, that of all
    # processes joined (of all machines, whatever NUM_SYNC_DEVICES and GLOBAL_SYNC say), of one pass with
    # TRAIN.ACCUMULATION_STEPS. The published UniFormers ignore this key. batchnorm | sync_batchnorm
    cfg.BN.NORM_TYPE = "batchnorm"
    cfg.BN.WEIGHT_DECAY = 0.0  # of the parameters of batch normalisation
    cfg.BN.USE_PRECISE_STATS = False  # measure the statistics anew before a validation or checkpoint
    cfg.BN.NUM_BATCHES_PRECISE = 200  # training batches used for that


def _uniformer(cfg: CfgNode) -> None:
    # -------------------------------------------------------------------------------------------- UNIFORMER
    cfg.UNIFORMER = CfgNode()
    cfg.UNIFORMER.DEPTH = [3, 4, 8, 3]  # blocks of the four stages
    cfg.UNIFORMER.EMBED_DIM = [64, 128, 320, 512]  # their widths
    cfg.UNIFORMER.HEAD_DIM = 64  # width of an attention head; must divide the widths of stages 3 and 4
    cfg.UNIFORMER.MLP_RATIO = 4.0  # hidden width of an MLP / width: a number, or one for each stage
    cfg.UNIFORMER.SPLIT = False  # attention over time, then over space, instead of both at once
    cfg.UNIFORMER.STD = False  # kernels of 3 frames between the stages, which then halve the frames
    cfg.UNIFORMER.QKV_BIAS = True  # bias of query, key and value
    cfg.UNIFORMER.QKV_SCALE = None  # factor of the attention scores; null: 1 / sqrt(head width)
    cfg.UNIFORMER.DROPOUT_RATE = 0.0  # after the stem, projections and MLPs, 0..1
    cfg.UNIFORMER.ATTENTION_DROPOUT_RATE = 0.0  # on attention maps
    cfg.UNIFORMER.DROP_DEPTH_RATE = 0.1  # stochastic depth of the last block, rising to it from 0
    cfg.UNIFORMER.HEAD_DROPOUT_RATE = 0.0  # before the head
    # Published weights to start from, looked up in MODEL.WEIGHTS_DIR; null: none
    cfg.UNIFORMER.PRETRAIN_NAME = None
    # Lightweight models alone: share of tokens kept in each block of stages 3 and 4, rate of the token scores
    cfg.UNIFORMER.PRUNE_RATIO = [[], [], [1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
    cfg.UNIFORMER.TRADE_OFF = [[], [], [1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
    cfg.UNIFORMER.INIT_VALUE = 0.1  # and start of their layer scale
    cfg.UNIFORMER.AVERAGE_HEADS = False  # and scores from the mean of both heads, not the first alone (here)


def _solver(cfg: CfgNode) -> None:
    # ----------------------------------------------------------------------------------------------- SOLVER
    cfg.SOLVER = CfgNode()
    cfg.SOLVER.MAX_EPOCH = 300  # epochs
    cfg.SOLVER.LR_POLICY = "cosine"  # cosine | steps_with_relative_lrs
    cfg.SOLVER.BASE_LR = 0.1  # highest rate, for the batch that is written in the recipe
    # Videos of all shards and passes in the optimizer step that BASE_LR is written for; 0: not known (here)
    cfg.SOLVER.REFERENCE_BATCH = 0
    # With a REFERENCE_BATCH: BASE_LR, WARMUP_START_LR and COSINE_END_LR grow and shrink with the videos of a step
    # (here). Factors are applied where a rate is used; the config keeps what the recipe says
    cfg.SOLVER.SCALE_LR = True
    # As published: the three rates count NUM_SHARDS times, whatever the batch. Only where SCALE_LR does not apply,
    # because shards are counted in the videos of a step already
    cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS = False
    cfg.SOLVER.WARMUP_EPOCHS = 0.0  # epochs of linear warm-up
    cfg.SOLVER.WARMUP_START_LR = 0.01  # rate at the start of it
    cfg.SOLVER.COSINE_END_LR = 0.0  # rate at MAX_EPOCH
    # The cosine starts at the end of the warm-up instead of at epoch 0
    cfg.SOLVER.COSINE_AFTER_WARMUP = False
    cfg.SOLVER.STEPS = []  # epochs at which a new rate starts, the first is 0 (steps_with_relative_lrs)
    cfg.SOLVER.LRS = []  # these rates, relative to BASE_LR
    cfg.SOLVER.OPTIMIZING_METHOD = "sgd"  # sgd | adam | adamw
    cfg.SOLVER.MOMENTUM = 0.9  # of sgd, like the next two
    cfg.SOLVER.DAMPENING = 0.0
    cfg.SOLVER.NESTEROV = True
    cfg.SOLVER.BETAS = [0.9, 0.999]  # of adam and adamw
    cfg.SOLVER.WEIGHT_DECAY = 1e-4  # of all parameters but those of BN and the two keys below
    # Rate of each block over that of the next one: the head has the rate of the schedule, the n-th part before it that
    # times this to the power n. 1: all alike (here)
    cfg.SOLVER.LAYER_DECAY = 1.0
    cfg.SOLVER.ZERO_WD_1D_PARAM = False  # no decay of parameters with one dimension
    cfg.SOLVER.NO_WEIGHT_DECAY_NAMES = []  # nor of those with one of these texts in their name (here)
    cfg.SOLVER.CLIP_GRADIENT = 20.0  # highest norm of the gradient of all parameters; null: no limit
    cfg.SOLVER.CLIP_GRAD_L2NORM = None  # upstream's name for CLIP_GRADIENT; wins where given
    cfg.SOLVER.CLIP_GRAD_VAL = None  # limit every single value instead, and not the norm
    # Steps in a row with a non-finite loss or gradient, all of them skipped, after which the run goes back to its last
    # good checkpoint, once, and ends the next time. Noticed every LOG_PERIOD steps (here)
    cfg.SOLVER.MAX_NONFINITE_STEPS = 10
    # Loss of a step over the median of the 100 before it above which it is named in the log, with a file in OUTPUT_DIR
    # that tells its videos and gradients; the training is left as it is. Such as 3; 0: off (here)
    cfg.SOLVER.LOSS_SPIKE = 0.0


def _log(cfg: CfgNode) -> None:
    # -------------------------------------------------------------------------------------------------- log
    cfg.LOG_PERIOD = 10  # steps between log lines, and window of their medians
    cfg.LOG_MODEL_INFO = True  # parameters and multiply-accumulates at the start

    # ------------------------------------------------------------------------------------------ TENSORBOARD
    cfg.TENSORBOARD = CfgNode()
    cfg.TENSORBOARD.ENABLE = False  # write event files
    cfg.TENSORBOARD.LOG_DIR = ""  # folder below OUTPUT_DIR; "": runs-<TRAIN.DATASET>
