"""Records to curves."""

from slowfast.reporting.curves import ACCURACY, LOSS, RATE, learning_curves


def train(epoch, **values):
    return {"_type": "train_epoch", "epoch": f"{epoch}/3", "global_step": 10 * epoch, **values}


def val(epoch, **values):
    return {"_type": "val_epoch", "epoch": f"{epoch}/3", "global_step": 10 * epoch, **values}


def test_curves_over_epochs():
    found = learning_curves(
        [train(1, loss=2.0, top1_err=60, lr=0.1), val(1, top1_err=50, top5_err=10), train(2, loss=1)]
    )
    assert found.x == "epoch"
    assert {name: [(one.name, one.points) for one in series] for name, series in found.charts.items()} == {
        LOSS: [("training", [(1, 2.0), (2, 1.0)])],
        ACCURACY: [
            ("training, top-1", [(1, 40.0)]),
            ("validation, top-1", [(1, 50.0)]),
            ("validation, top-5", [(1, 90.0)]),
        ],
        RATE: [("rate", [(1, 0.1)])],
    }


def test_a_single_epoch_is_drawn_by_its_steps():
    steps = [{"_type": "train_iter", "epoch": "1/1", "global_step": at, "loss": 1 / at} for at in (2, 4)]
    found = learning_curves([*steps, train(1, loss=0.5), val(1, map=0.25)])
    assert found.x == "step" and found.charts[LOSS][0].points == [(2, 0.5), (4, 0.25)]
    assert found.charts["mAP"][0].points == [(10, 0.25)]


def test_what_is_recorded_twice_counts_once_and_null_not_at_all():
    found = learning_curves([train(1, loss=9.0), train(1, loss=3.0), train(2, loss=None), train(3, loss=1.0)])
    assert found.charts[LOSS][0].points == [(1, 3.0), (3, 1.0)]


def test_without_a_training_there_are_no_curves():
    assert learning_curves([{"split": "test_final", "top1_acc": "99.00"}, {"_type": "other"}]).charts == {}
