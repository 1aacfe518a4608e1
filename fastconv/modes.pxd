cpdef bint recording() noexcept
cpdef bint anomaly() noexcept
cpdef bint set_recording(bint value) noexcept
cpdef bint set_anomaly(bint value) noexcept
