"""Two switches of autograd that each thread has for itself, read by every op."""
cdef extern from *:
    """
    #if defined(_MSC_VER)
    #define FC_OF_THREAD __declspec(thread)
    #else
    #define FC_OF_THREAD __thread
    #endif
    static FC_OF_THREAD int fc_recording = 1, fc_anomaly = 0;
    """
    bint fc_recording, fc_anomaly


cpdef bint recording() noexcept:
    """Whether ops record a graph in this thread."""
    return fc_recording


cpdef bint anomaly() noexcept:
    """Whether results are searched for NaN and infinity in this thread."""
    return fc_anomaly


cpdef bint set_recording(bint value) noexcept:
    """Switch; what it was before."""
    global fc_recording
    before, fc_recording = fc_recording, value
    return before


cpdef bint set_anomaly(bint value) noexcept:
    """Switch; what it was before."""
    global fc_anomaly
    before, fc_anomaly = fc_anomaly, value
    return before
