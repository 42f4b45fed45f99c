//! A deployed lambda's memory: what its instances share, made once, and what each of them has.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use lnic_compiler::{MemoryPlan, Sharing, Window};

use super::linear::LinearBytes;
use super::mapping::Reservation;
use super::pages::Pages;
use super::plan::{self, Alignment};
use super::region::{Backing, Region, Slice};
use super::view::View;
use super::{Account, Hugepages, MemoryError, PlanError, Regions};
use crate::ids::NpuId;

/// The memory of one deployment of a lambda. Clones are the same deployment; what is shared lasts until the last of them, and
/// the last instance, is gone.
#[derive(Clone)]
pub struct Deployment(Arc<Inner>);

struct Inner {
    regions: Regions,
    plan: Arc<MemoryPlan>,
    alignment: Alignment,
    account: Account,
    /// Windows that are shared, once somebody has needed them.
    shared: Mutex<Vec<Shared>>,
}

/// A window that is shared, by those in one scope.
struct Shared {
    /// Its place in the plan.
    window: usize,
    scope: Scope,
    pieces: Arc<[Piece]>,
}

/// Who shares the same bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Npu(NpuId),
    Island(crate::ids::IslandId),
    All,
}

/// A part of a window, in pages of one size.
pub(super) struct Piece {
    /// Its place in the linear memory.
    at: usize,
    slice: Slice,
}

/// Where an instance's memory comes from: its deployment's, on an NPU.
#[derive(Clone)]
pub struct Seat {
    deployment: Deployment,
    npu: NpuId,
}

impl Deployment {
    /// A deployment without instances; it takes nothing yet.
    pub fn new(regions: &Regions, plan: &Arc<MemoryPlan>, account: Account) -> Result<Self, PlanError> {
        plan::judge(plan)?;
        Ok(Self(Arc::new(Inner {
            regions: regions.clone(),
            plan: Arc::clone(plan),
            alignment: Alignment::of(plan),
            account,
            shared: Mutex::default(),
        })))
    }

    /// The place for an instance on this NPU.
    #[must_use]
    pub fn seat(&self, npu: NpuId) -> Seat {
        Seat { deployment: self.clone(), npu }
    }
}

impl Seat {
    /// What memories are made by.
    #[must_use]
    pub fn plan(&self) -> &Arc<MemoryPlan> {
        &self.deployment.0.plan
    }

    /// Makes the memory of one instance. Windows that others share with it are made by whoever comes first; they begin with their
    /// initial data, and keep what was written since.
    pub fn memory(&self) -> Result<LinearBytes, MemoryError> {
        let inner = &*self.deployment.0;
        let plan = &*inner.plan;
        if inner.regions.place(self.npu).is_none() {
            return Err(self.no_npu());
        }
        if let ([window], true) = (plan.windows.as_slice(), plan.is_dense()) {
            let slice = self.region(window)?.take(Backing::Private, window.bytes as usize, &inner.account)?;
            return Ok(LinearBytes::dense(slice));
        }
        let failed = |source| MemoryError::Windows { lambda: inner.account.name().to_owned(), source };
        let Alignment { align_bytes, phase } = inner.alignment;
        let mut reservation = Reservation::new(plan.bytes() as usize, align_bytes, phase).map_err(failed)?;
        let (mut own, mut shared) = (Vec::new(), Vec::new());
        for (at, (window, range)) in plan.windows.iter().zip(plan::ranges(plan)).enumerate() {
            let scope = match window.sharing {
                Sharing::Instance => None,
                Sharing::Npu => Some(Scope::Npu(self.npu)),
                Sharing::Island => {
                    let place = inner.regions.place(self.npu).ok_or_else(|| self.no_npu())?;
                    Some(Scope::Island(place.island))
                }
                Sharing::All => Some(Scope::All),
            };
            let Some(scope) = scope else {
                let pieces = self.pieces(window, &range)?;
                map(&mut reservation, &pieces).map_err(failed)?;
                own.extend(pieces);
                continue;
            };
            let pieces = self.shared(at, scope, window, &range)?;
            map(&mut reservation, &pieces).map_err(failed)?;
            shared.push(pieces);
        }
        Ok(LinearBytes::windows(reservation, plan.bytes() as usize, own, shared))
    }

    /// A view of a window that all instances share; `None` if the plan has no such window there.
    pub fn view(&self, window: usize) -> Result<Option<View>, MemoryError> {
        let inner = &*self.deployment.0;
        let plan = &*inner.plan;
        let Some((shape, range)) = plan.windows.iter().zip(plan::ranges(plan)).nth(window) else {
            return Ok(None);
        };
        if shape.sharing != Sharing::All {
            return Ok(None);
        }
        let pieces = self.shared(window, Scope::All, shape, &range)?;
        let failed = |source| MemoryError::Windows { lambda: inner.account.name().to_owned(), source };
        let bytes = shape.bytes as usize;
        // Hugepages of the window begin where they begin in the memory.
        let Alignment { align_bytes, phase } = inner.alignment;
        let start = range.start as usize;
        let phase = (phase % align_bytes + align_bytes - start % align_bytes) % align_bytes;
        let mut reservation = Reservation::new(bytes, align_bytes, phase).map_err(failed)?;
        pieces
            .iter()
            .try_for_each(|Piece { at, slice }| {
                reservation.map(at - start, &slice.mapping, slice.offset, slice.bytes)
            })
            .map_err(failed)?;
        Ok(Some(View::new(reservation, bytes, pieces)))
    }

    fn no_npu(&self) -> MemoryError {
        MemoryError::NoNpu { lambda: self.deployment.0.account.name().to_owned(), npu: self.npu }
    }

    fn region(&self, window: &Window) -> Result<&Arc<Region>, MemoryError> {
        self.deployment.0.regions.region(window.tier, self.npu).ok_or_else(|| self.no_npu())
    }

    fn shared(
        &self,
        at: usize,
        scope: Scope,
        window: &Window,
        range: &Range<u64>,
    ) -> Result<Arc<[Piece]>, MemoryError> {
        // A panic before the push leaves no trace of the window.
        let mut shared = self.deployment.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.iter().find(|known| known.window == at && known.scope == scope) {
            return Ok(Arc::clone(&known.pieces));
        }
        let pieces: Arc<[Piece]> = self.pieces(window, range)?.into();
        shared.push(Shared { window: at, scope, pieces: Arc::clone(&pieces) });
        Ok(pieces)
    }

    /// The memory of a window with its initial data: hugepages as far as they fit and there are some, and the rest before and
    /// behind them in small pages.
    fn pieces(&self, window: &Window, range: &Range<u64>) -> Result<Vec<Piece>, MemoryError> {
        let inner = &*self.deployment.0;
        let region = self.region(window)?;
        let mut pieces = Vec::new();
        let mut take = |part: Range<u64>, pages| {
            if part.is_empty() {
                return Ok(());
            }
            let bytes = (part.end - part.start) as usize;
            let slice = region.take(Backing::Shared(pages), bytes, &inner.account)?;
            pieces.push(Piece { at: part.start as usize, slice });
            Ok(())
        };
        let mut huge = None;
        if region.hugepages() != Hugepages::Off {
            for pages in [Pages::Gigantic, Pages::Huge] {
                let Some(part) = inner.alignment.huge_part(range, pages) else { continue };
                match take(part.clone(), pages) {
                    Ok(()) => {
                        huge = Some(part);
                        break;
                    }
                    // Smaller ones may do, unless it is not the system that has too little.
                    Err(MemoryError::System { .. })
                        if pages == Pages::Gigantic || region.hugepages() == Hugepages::Auto => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let huge = huge.unwrap_or(range.start..range.start);
        take(range.start..huge.start, Pages::Small)?;
        take(huge.end..range.end, Pages::Small)?;
        for (at, bytes) in plan::initial(&inner.plan, range.clone()) {
            write(&mut pieces, range.start as usize + at, bytes);
        }
        Ok(pieces)
    }
}

/// Writes across the pieces of a window that nobody knows yet.
fn write(pieces: &mut [Piece], address: usize, bytes: &[u8]) {
    for piece in pieces {
        let from = address.max(piece.at);
        let to = (address + bytes.len()).min(piece.at + piece.slice.bytes);
        if from < to {
            piece.slice.write(from - piece.at, &bytes[from - address..to - address]);
        }
    }
}

fn map(reservation: &mut Reservation, pieces: &[Piece]) -> std::io::Result<()> {
    pieces
        .iter()
        .try_for_each(|Piece { at, slice }| reservation.map(*at, &slice.mapping, slice.offset, slice.bytes))
}
