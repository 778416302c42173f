//! The memory that secrets lie in: between guard pages, locked into RAM where the system allows it, left out of core dumps,
//! wiped when it is given back (memsec, after libsodium).
//!
//! A mapping of its own for each secret would cost eight system calls, half of them with an interrupt to every processor
//! that runs a thread of ours. So there is one mapping, cut into cells, and one of its own only for what does not fit.

use std::ptr::NonNull;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Bytes in a cell: the longest key and the longest line of a file.
const CELL: usize = 1024;
const CELLS: usize = 32;

/// Memory for one secret.
pub struct Memory {
    start: NonNull<[u8]>,
    /// Which cell it is; none: a mapping of its own.
    cell: Option<usize>,
}

// SAFETY: the memory is owned by this value alone and has no thread affinity; `&Memory` only reads it.
#[allow(unsafe_code)]
unsafe impl Send for Memory {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Memory {}

/// The one mapping, and which of its cells are taken (a bit each).
struct Cells {
    start: NonNull<[u8]>,
    taken: Mutex<u32>,
}

// SAFETY: cells are handed out under the mutex, each to one owner at a time; the mapping is never unmapped.
#[allow(unsafe_code)]
unsafe impl Send for Cells {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Cells {}

static ALL: OnceLock<Cells> = OnceLock::new();

#[allow(unsafe_code)]
impl Memory {
    /// At least `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        let mut memory = match (len <= CELL).then(take).flatten() {
            Some(cell) => {
                let all = cells().start.cast::<u8>();
                // SAFETY: the cell lies within the mapping, and was free: nobody else has a pointer into it.
                let start = unsafe { all.add(cell * CELL) };
                Self { start: NonNull::slice_from_raw_parts(start, CELL), cell: Some(cell) }
            }
            None => Self { start: map(len.max(1)), cell: None },
        };
        memory.bytes_mut().fill(0);
        memory
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the memory is valid for its length, and borrowed through `self`.
        unsafe { self.start.as_ref() }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the memory is valid for its length, and borrowed mutably through `self`.
        unsafe { self.start.as_mut() }
    }
}

impl Drop for Memory {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        match self.cell {
            Some(cell) => {
                zeroize::Zeroize::zeroize(self.bytes_mut());
                *cells().taken.lock().unwrap_or_else(PoisonError::into_inner) &= !(1 << cell);
            }
            // SAFETY: mapped by `memsec::malloc_sized` and freed once; `free` wipes before it unmaps.
            None => unsafe { memsec::free(self.start) },
        }
    }
}

fn cells() -> &'static Cells {
    ALL.get_or_init(|| Cells { start: map(CELLS * CELL), taken: Mutex::new(0) })
}

/// A free cell; none where all are taken.
fn take() -> Option<usize> {
    let mut taken = cells().taken.lock().unwrap_or_else(PoisonError::into_inner);
    let cell = taken.trailing_ones() as usize;
    (cell < CELLS).then(|| {
        *taken |= 1 << cell;
        cell
    })
}

#[allow(unsafe_code)]
fn map(len: usize) -> NonNull<[u8]> {
    // SAFETY: any length but zero is allowed; the owner frees it, or keeps it for good.
    unsafe { memsec::malloc_sized(len) }
        .unwrap_or_else(|| std::alloc::handle_alloc_error(std::alloc::Layout::new::<u8>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_apart_wiped_and_used_again() {
        let mut all: Vec<Memory> = (0..CELLS + 4).map(|_| Memory::zeroed(CELL)).collect();
        for (index, memory) in all.iter_mut().enumerate() {
            assert!(memory.bytes().iter().all(|byte| *byte == 0));
            memory.bytes_mut().fill(index as u8 + 1);
        }
        for (index, memory) in all.iter().enumerate() {
            assert!(memory.bytes().iter().all(|byte| *byte == index as u8 + 1), "{index}");
        }
        // Other tests may hold some of the cells, but what does not fit gets a mapping of its own.
        assert!(all.iter().filter(|memory| memory.cell.is_none()).count() >= 4);
        drop(all);
        assert!(Memory::zeroed(CELL).cell.is_some());
        assert!(Memory::zeroed(CELL + 1).cell.is_none());
    }
}
