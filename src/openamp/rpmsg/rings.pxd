# The C side of rings.py: the types of its attributes and locals, and how messages are read and written.
#
# A header's words are `volatile`: each is read once, into a local, and cannot change between a check and its use.

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize

from openamp.virtio.virtqueue cimport DeviceQueue, DriverQueue, monotonic

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* struct rpmsg_hdr, little-endian, in a buffer at any address. */
    #if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #define openamp_le32(value) __builtin_bswap32(value)
    #define openamp_le16(value) __builtin_bswap16(value)
    #else
    #define openamp_le32(value) (value)
    #define openamp_le16(value) (value)
    #endif

    typedef volatile uint32_t __attribute__((may_alias, aligned(1))) openamp_wire32;
    typedef volatile uint16_t __attribute__((may_alias, aligned(1))) openamp_wire16;

    #define openamp_bytes(view) ((char *)PyMemoryView_GET_BUFFER(view)->buf)
    #define openamp_src(view) openamp_le32(*(openamp_wire32 *)openamp_bytes(view))
    #define openamp_dst(view) openamp_le32(*(openamp_wire32 *)(openamp_bytes(view) + 4))
    #define openamp_length(view) openamp_le16(*(openamp_wire16 *)(openamp_bytes(view) + 12))

    static inline void openamp_fill_header(PyObject *view, uint32_t src, uint32_t dst, uint32_t length) {
        char *to = openamp_bytes(view);
        *(openamp_wire32 *)to = openamp_le32(src);
        *(openamp_wire32 *)(to + 4) = openamp_le32(dst);
        *(openamp_wire32 *)(to + 8) = 0;
        *(openamp_wire32 *)(to + 12) = openamp_le32(length & 0xFFFF);
    }

    static inline void openamp_fill(PyObject *view, uint32_t src, uint32_t dst, PyObject *data, uint32_t length) {
        openamp_fill_header(view, src, dst, length);
        memcpy(openamp_bytes(view) + 16, PyBytes_AS_STRING(data), length);
    }
    """
    char *_bytes "openamp_bytes" (object view) noexcept
    unsigned int _src "openamp_src" (object view) noexcept
    unsigned int _dst "openamp_dst" (object view) noexcept
    unsigned int _length "openamp_length" (object view) noexcept
    void fill_header "openamp_fill_header" (object view, unsigned int src, unsigned int dst, unsigned int length) noexcept
    void fill "openamp_fill" (object view, unsigned int src, unsigned int dst, object data, unsigned int length) noexcept


cdef inline (unsigned int, unsigned int, unsigned int) unpack(object view) noexcept:
    return _src(view), _dst(view), _length(view)


cdef inline bytes copy_out(object view, unsigned int start, unsigned int end):
    return PyBytes_FromStringAndSize(_bytes(view) + start, end - start)


cdef unsigned int _HEADER_SIZE
cdef long long _NOBODY
cdef Py_ssize_t _MANY
cdef long long _SHORTEST_SPIN, _INSTANT
cdef unsigned int _LOOK_EVERY, _MOST_PATIENCE

cdef int _write(object view, unsigned int src, unsigned int dst, object data, Py_ssize_t length) except -1
cdef Py_ssize_t _room(Py_ssize_t size) except -1


cdef class _Rings:
    cdef public unsigned long long num_sent, bytes_sent, num_received, bytes_received
    cdef public unsigned long long num_malformed, num_kicks, num_kicks_suppressed
    cdef public object _kick
    cdef object _lender, _r2h_id, _h2r_id, _cause, _inbox, _ready, _waiting, _last_called, _last_append
    cdef dict _endpoints
    cdef public bint lazy
    cdef bint _armed, _wanting, _out_armed, _unpublished, _spent
    cdef long long _spin_limit, _budget, _armed_at
    cdef unsigned int _num_spins, _patience, _num_quick
    cdef unsigned int _num_receive, _longest
    cdef long _parked, _park_limit
    cdef long long _last_dst
    cdef Py_ssize_t _last_room

    @cython.locals(src=cython.uint, dst=cython.uint, length=cython.uint, end=cython.uint, returned=cython.bint)
    cdef bint _deliver(
        self, unsigned int token, object view, unsigned int size, unsigned int written, object queue_name
    ) except -1
    cdef int _look_up(self, unsigned int dst) except -1
    cdef bint _deliver_slowly(
        self, unsigned int token, object view, unsigned int src, unsigned int dst, unsigned int length
    ) except -1
    cdef bint _spun(self, bint found, long long nanoseconds) except -1
    cdef int _signal(self, bint wanted, object notify_id) except -1


@cython.final
cdef class HostRings(_Rings):
    cdef DriverQueue _r2h, _h2r
    cdef list _in_views, _out_views
    cdef unsigned int[::1] _in_sizes, _out_sizes, _posted, _in_flight, _free
    cdef unsigned long long[::1] _in_das, _out_das
    cdef Py_ssize_t _mtu
    cdef unsigned int _num_free

    @cython.locals(head=cython.uint)
    cdef int _post(self, unsigned int index) except -1
    @cython.locals(queue=DriverQueue, taken=cython.uint, returned=cython.uint, index=cython.uint)
    cpdef bint drain(self) except -1
    @cython.locals(began=cython.longlong, found=cython.bint)
    cpdef bint spin(self, bint hasty=*) except -1
    @cython.locals(news=cython.bint)
    cpdef bint arm(self) except -1
    cpdef object give_back(self, unsigned int token)
    @cython.locals(queue=DriverQueue)
    cpdef long borrow(self) except -2
    cpdef object buffer(self, unsigned int token)
    cpdef object unborrow(self, unsigned int token)
    @cython.locals(length=cython.Py_ssize_t, index=cython.long)
    cdef bint _put(self, unsigned int src, unsigned int dst, object data) except -1
    @cython.locals(head=cython.uint)
    cdef int _give(self, unsigned int index, unsigned int length) except -1
    cpdef bint try_send(self, unsigned int src, unsigned int dst, object data) except -1
    @cython.locals(at=cython.Py_ssize_t, end=cython.Py_ssize_t)
    cpdef Py_ssize_t put_many(self, unsigned int src, unsigned int dst, object messages, Py_ssize_t start) except -1
    cpdef object publish_sent(self)
    cpdef object put_buffer(self, unsigned int token, unsigned int src, unsigned int dst, unsigned int length)


@cython.final
cdef class RemoteRings(_Rings):
    cdef DeviceQueue _r2h, _h2r
    cdef object _memory
    cdef list _in_views, _out_views
    cdef unsigned int[::1] _in_sizes, _out_sizes, _spare
    cdef unsigned long long[::1] _in_das, _out_das
    cdef Py_ssize_t _mtu
    cdef unsigned int _num_spare

    @cython.locals(queue=DeviceQueue, taken=cython.uint, returned=cython.uint, head=cython.uint, length=cython.uint)
    cpdef bint drain(self) except -1
    @cython.locals(began=cython.longlong, found=cython.bint)
    cpdef bint spin(self, bint hasty=*) except -1
    @cython.locals(news=cython.bint)
    cpdef bint arm(self) except -1
    cpdef object give_back(self, unsigned int token)
    @cython.locals(queue=DeviceQueue, head=cython.uint, length=cython.uint)
    cpdef long borrow(self) except -2
    cdef object _empty(self, unsigned int head)
    cpdef object buffer(self, unsigned int token)
    cpdef object unborrow(self, unsigned int token)
    @cython.locals(length=cython.Py_ssize_t, head=cython.long, room=cython.Py_ssize_t)
    cdef bint _put(self, unsigned int src, unsigned int dst, object data) except -1
    cdef int _give(self, unsigned int head, unsigned int length) except -1
    cpdef bint try_send(self, unsigned int src, unsigned int dst, object data) except -1
    @cython.locals(at=cython.Py_ssize_t, end=cython.Py_ssize_t)
    cpdef Py_ssize_t put_many(self, unsigned int src, unsigned int dst, object messages, Py_ssize_t start) except -1
    cpdef object publish_sent(self)
    cpdef object put_buffer(self, unsigned int token, unsigned int src, unsigned int dst, unsigned int length)
