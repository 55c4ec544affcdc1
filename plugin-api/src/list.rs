//! Lists of views that may be longer per element than this version of the contract knows.

use std::marker::PhantomData;
use std::ops::Index;

/// A borrowed list of views, addressed by stride: a later host may append fields to a view, and a
/// policy compiled against today's view still finds every element.
#[repr(C)]
#[derive(abi_stable::StableAbi)]
pub struct List<'a, T> {
    base: *const u8,
    stride: u32,
    len: u32,
    views: PhantomData<&'a T>,
}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for List<'_, T> {}

impl<'a, T> List<'a, T> {
    /// All of `views`.
    ///
    /// # Panics
    /// With more than `u32::MAX` elements.
    #[must_use]
    pub fn new(views: &'a [T]) -> Self {
        Self {
            base: views.as_ptr().cast(),
            stride: u32::try_from(size_of::<T>()).expect("views are small"),
            len: u32::try_from(views.len()).expect("fewer than 2^32 views"),
            views: PhantomData,
        }
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// No elements?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Element `i`, if there is one.
    #[must_use]
    #[allow(unsafe_code, reason = "elements are addressed by stride")]
    pub fn get(&self, i: usize) -> Option<&'a T> {
        // SAFETY: `new` took base, stride and length from a slice that outlives 'a, or the host
        // did, whose elements begin with a T.
        (i < self.len()).then(|| unsafe { &*self.base.add(i * self.stride as usize).cast::<T>() })
    }

    /// The elements in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a T> + DoubleEndedIterator + use<'a, T> {
        let list = *self;
        (0..list.len()).map(move |i| list.get(i).expect("in range"))
    }
}

impl<T> Index<usize> for List<'_, T> {
    type Output = T;

    /// Panics when out of range.
    fn index(&self, i: usize) -> &T {
        match self.get(i) {
            Some(view) => view,
            None => panic!("index {i} of a list of {}", self.len),
        }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for List<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
