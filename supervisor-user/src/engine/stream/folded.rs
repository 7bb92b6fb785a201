//! Folds text for a person who watches: repeats are counted, and the counters are written from time to time.

use supervisor_model::clock::{self, Wall};
use supervisor_render::fold::{Detail, Fold};

use super::{super::encoder, Stream};

impl Stream {
    /// Writes text to standard output for a person who watches, in this detail.
    #[must_use]
    pub fn in_detail(mut self, detail: Detail) -> Self {
        for route in &mut self.workers {
            let style = route.look.style_of_screen();
            route.fold = style.and_then(|style| Fold::new(detail, style));
        }
        self
    }

    /// Writes the counters of folded text: those that are due, or all.
    pub(super) async fn write_counters(&mut self, all: bool) {
        let (now_ns, wall) = (clock::now_ns(), Wall::now());
        for route in &mut self.workers {
            let Some(fold) = &mut route.fold else { continue };
            let text = if all { fold.rest(now_ns, wall) } else { fold.due(now_ns, wall) };
            if let (Some(message), Some(worker)) = (encoder::text(wall, now_ns, &text), &mut route.worker) {
                worker.push(&message).await;
            }
        }
    }
}
